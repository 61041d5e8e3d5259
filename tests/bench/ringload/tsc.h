/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The clock of the hot path: the processor's time-stamp counter where it runs
 * at one rate in all states, else CLOCK_MONOTONIC_RAW.
 */
#ifndef RINGLOAD_TSC_H
#define RINGLOAD_TSC_H

#include "util.h"
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* Written by tsc_calibrate() before any thread starts; constant after. */
extern struct tsc_clock {
    bool use_tsc;
    double ticks_per_us;
} tsc_clock;

static inline uint64_t clock_raw_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* Hot: one rdtsc (some 20 cycles), not ordered against other instructions. */
static inline uint64_t tsc_now(void)
{
#if defined(__x86_64__)
    if (__builtin_expect(tsc_clock.use_tsc, 1)) {
        return __rdtsc();
    }
#endif
    return clock_raw_ns();
}

static inline double tsc_to_us(double ticks)
{
    return ticks / tsc_clock.ticks_per_us;
}

static inline uint64_t tsc_from_seconds(double seconds)
{
    return (uint64_t)(seconds * 1e6 * tsc_clock.ticks_per_us);
}

/* Finds out the rate; takes some 20 ms. */
void tsc_calibrate(void);

#endif
