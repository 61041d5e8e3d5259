/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A log-linear histogram of durations: every power of two is cut into 64 equal
 * buckets, so that a value is known within 1/64 (1.6 %), and within 0.8 % by
 * the middle of its bucket. Values below 128 are exact.
 */
#ifndef RINGLOAD_HISTOGRAM_H
#define RINGLOAD_HISTOGRAM_H

#include "util.h"

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_SUB      (1u << HISTOGRAM_SUB_BITS)
/* Up to 2^40 ticks, minutes at any rate; what is longer counts as that. */
#define HISTOGRAM_MAX_BITS 40
#define HISTOGRAM_BUCKETS \
    ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB)

/* Written by one thread; merged when that thread has ended. */
struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t value)
{
    unsigned shift;

    if (value >= 1ull << HISTOGRAM_MAX_BITS) {
        value = (1ull << HISTOGRAM_MAX_BITS) - 1;
    }
    if (value < HISTOGRAM_SUB) {
        return value;
    }
    /* value >> shift lies in [SUB, 2 * SUB) */
    shift = 63 - HISTOGRAM_SUB_BITS - __builtin_clzll(value);
    return shift * HISTOGRAM_SUB + (value >> shift);
}

/* Hot: three counters and the bucket, in memory of this thread alone. */
static inline void histogram_add(struct histogram *h, uint64_t value)
{
    h->count++;
    h->sum += value;
    if (value > h->max) {
        h->max = value;
    }
    h->bucket[histogram_bucket(value)]++;
}

void histogram_reset(struct histogram *h);
void histogram_merge(struct histogram *to, const struct histogram *from);

/* The value that @fraction (0..1) of all values do not exceed. */
double histogram_quantile(const struct histogram *h, double fraction);

double histogram_mean(const struct histogram *h);

#endif
