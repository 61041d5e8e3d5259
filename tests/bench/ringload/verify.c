/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stamps and patterns that say where data belong, see verify.h.
 */
#include "verify.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECTOR 512
#define FILL_WORDS 60

struct stamp {
    uint64_t run;
    uint64_t sector;
    uint64_t generation;
    uint64_t queue;
    uint64_t fill[FILL_WORDS];
};

_Static_assert(sizeof(struct stamp) == SECTOR,
               "a stamp is what a disk writes at once");

void verify_init(struct verify *v, unsigned queue, uint64_t run,
                 uint64_t first_sector, uint64_t blocks, uint32_t block_size)
{
    v->generation = alloc_sparse(blocks * sizeof(*v->generation));
    v->busy = alloc_sparse((blocks + 63) / 64 * sizeof(*v->busy));
    v->blocks = blocks;
    v->first_sector = first_sector;
    v->block_sectors = block_size / SECTOR;
    v->queue = queue;
    v->run = run;
}

/* The finaliser of SplitMix64: every bit of @x changes half of the result. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static uint64_t fill_start(const struct stamp *s)
{
    return mix(mix(mix(s->run + s->sector) + s->generation) + s->queue);
}

static uint64_t fill_word(uint64_t start, unsigned i)
{
    return start + i * 0x9e3779b97f4a7c15ull;
}

static void make_stamp(const struct verify *v, struct stamp *s,
                       uint64_t sector, uint32_t generation)
{
    uint64_t start;
    unsigned i;

    s->run = v->run;
    s->sector = sector;
    s->generation = generation;
    s->queue = v->queue;
    start = fill_start(s);
    for (i = 0; i < FILL_WORDS; i++) {
        s->fill[i] = fill_word(start, i);
    }
}

void verify_fill(const struct verify *v, void *data, uint64_t block,
                 uint32_t generation)
{
    uint64_t sector = v->first_sector + block * v->block_sectors;
    struct stamp *s = data;
    uint32_t i;

    for (i = 0; i < v->block_sectors; i++) {
        make_stamp(v, &s[i], sector + i, generation);
    }
}

/* True where all of @s follows from its own head. */
static bool is_intact(const struct stamp *s)
{
    uint64_t start = fill_start(s), differs = 0;
    unsigned i;

    for (i = 0; i < FILL_WORDS; i++) {
        differs |= s->fill[i] ^ fill_word(start, i);
    }
    return !differs;
}

static void __attribute__((cold))
explain(const struct stamp *want, const struct stamp *found,
        char *why, size_t size)
{
    static const struct stamp zeroes;
    unsigned i = 0;

    if (!memcmp(found, &zeroes, sizeof(zeroes))) {
        snprintf(why, size, "expected generation %" PRIu64 ", found zeroes",
                 want->generation);
    } else if (!is_intact(found)) {
        while (((const char *)want)[i] == ((const char *)found)[i]) {
            i++;
        }
        snprintf(why, size, "expected generation %" PRIu64 ", found data that "
                 "nobody wrote (claimed generation %" PRIu64 ", first wrong "
                 "byte %u)", want->generation, found->generation, i);
    } else if (found->run != want->run) {
        snprintf(why, size, "expected generation %" PRIu64 ", found generation "
                 "%" PRIu64 " of sector %" PRIu64 " of another run",
                 want->generation, found->generation, found->sector);
    } else {
        snprintf(why, size, "expected generation %" PRIu64 ", found generation "
                 "%" PRIu64 " of sector %" PRIu64 " by queue %" PRIu64,
                 want->generation, found->generation, found->sector,
                 found->queue);
    }
}

bool verify_check(const struct verify *v, const void *data, uint64_t block,
                  uint32_t generation, char *why, size_t size)
{
    uint64_t sector = v->first_sector + block * v->block_sectors;
    const struct stamp *found = data;
    uint32_t i;

    for (i = 0; i < v->block_sectors; i++) {
        struct stamp want;

        make_stamp(v, &want, sector + i, generation);
        if (__builtin_expect(memcmp(&want, &found[i], SECTOR), 0)) {
            int n = snprintf(why, size, "sector %" PRIu64 ": ", sector + i);

            explain(&want, &found[i], why + n, size - n);
            return false;
        }
    }
    return true;
}
