/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a queue knows about the contents of its part of the disk, and how data
 * tell where they belong.
 *
 * Every 512 bytes written begin with the run, the disk sector, the generation
 * (how many times this run has written the block) and the queue; the rest is a
 * pattern that follows from these four. So every byte is checked, and data that
 * are wrong but intact say where they come from: a lost write shows an older
 * generation, a misplaced one another sector.
 *
 * One struct a queue, used by that queue's thread alone: the parts of the disk
 * are disjoint, and a block in flight is busy and not touched again.
 */
#ifndef RINGLOAD_VERIFY_H
#define RINGLOAD_VERIFY_H

#include "util.h"

struct verify {
    uint32_t *generation;       /* of each block; 0: not written by this run */
    uint64_t *busy;             /* a bit a block: a request is in flight */
    uint64_t blocks;
    uint64_t first_sector;
    uint32_t block_sectors;
    uint32_t queue;
    uint64_t run;               /* other for every run, whatever the seed */
};

void verify_init(struct verify *v, unsigned queue, uint64_t run,
                 uint64_t first_sector, uint64_t blocks, uint32_t block_size);

static inline bool verify_is_busy(const struct verify *v, uint64_t block)
{
    return v->busy[block / 64] & 1ull << block % 64;
}

static inline void verify_set_busy(struct verify *v, uint64_t block)
{
    v->busy[block / 64] |= 1ull << block % 64;
}

static inline void verify_clear_busy(struct verify *v, uint64_t block)
{
    v->busy[block / 64] &= ~(1ull << block % 64);
}

/* The data of @block in @generation. */
void verify_fill(const struct verify *v, void *data, uint64_t block,
                 uint32_t generation);

/*
 * True where @data are what @block holds in @generation. Else @why (of @size
 * bytes) tells what was expected and what was found.
 */
bool verify_check(const struct verify *v, const void *data, uint64_t block,
                  uint32_t generation, char *why, size_t size);

#endif
