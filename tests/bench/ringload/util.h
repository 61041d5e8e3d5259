/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every file of ringload uses: errors that end the program, atomics on
 * memory shared with the server, aligned memory, CPU lists and UNIX sockets.
 *
 * Include it first: it asks the C library for its GNU interfaces.
 */
#ifndef RINGLOAD_UTIL_H
#define RINGLOAD_UTIL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The rings of VIRTIO 1.x are little-endian; ringload does not swap bytes. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "ringload runs on little-endian hosts only"
#endif

/* Exit codes, see --help. */
enum {
    EXIT_OK = 0,
    EXIT_ENVIRONMENT = 1,   /* usage, no server, server gone */
    EXIT_DATA = 2,          /* wrong data, I/O error, broken ring, no answer */
};

/*
 * Apart by two lines: processors fetch lines in pairs, so that a neighbour's
 * line is taken away along with one's own.
 */
#define CACHE_APART 128

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define COLD        __attribute__((cold, noinline))

#define ROUND_UP_TO(n, unit) (((n) + (unit) - 1) / (unit) * (unit))

/* Atomics on words that another thread or process reads or writes. */
#define atomic_get(p)            __atomic_load_n((p), __ATOMIC_RELAXED)
#define atomic_put(p, v)         __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_get_acquire(p)    __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define atomic_put_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define atomic_get_seq_cst(p)    __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define atomic_put_seq_cst(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Prints "ringload: MESSAGE" on stderr and exits with EXIT_ENVIRONMENT. */
void die(const char *fmt, ...)
    __attribute__((noreturn, cold, format(printf, 1, 2)));

/* Prints "ringload: MESSAGE" on stderr, as one write. */
void complain(const char *fmt, ...)
    __attribute__((cold, format(printf, 1, 2)));

/* Zeroed memory on cache lines of its own; dies where there is none. */
void *alloc_apart(size_t size);

/* Zeroed, page-aligned, backed lazily: for tables that may stay sparse. */
void *alloc_sparse(size_t size);

/* Binds the calling thread to @cpu; dies where that is impossible. */
void pin_thread(int cpu);

/*
 * Connects to the UNIX stream socket @path. A server that is just starting is
 * given a second to come. Dies on failure.
 */
int connect_unix(const char *path);

/* A list of CPUs such as "1-3,5". */
struct cpu_list {
    int *cpu;
    unsigned count;
};

bool cpu_list_parse(struct cpu_list *list, const char *text);

/* The CPU for worker @i of many, or -1 where the list is empty. */
int cpu_list_pick(const struct cpu_list *list, unsigned i);

#endif
