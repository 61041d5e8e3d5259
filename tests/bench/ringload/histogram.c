/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cold half of the log-linear histogram, see histogram.h.
 */
#include "histogram.h"
#include <string.h>

_Static_assert(HISTOGRAM_BUCKETS == 35 * 64,
               "the last bucket is that of 2^40 - 1");

void histogram_reset(struct histogram *h)
{
    memset(h, 0, sizeof(*h));
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    unsigned i;

    to->count += from->count;
    to->sum += from->sum;
    if (from->max > to->max) {
        to->max = from->max;
    }
    for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
        to->bucket[i] += from->bucket[i];
    }
}

/* The middle of bucket @i. */
static double bucket_middle(unsigned i)
{
    unsigned shift = i < 2 * HISTOGRAM_SUB ? 0 : i / HISTOGRAM_SUB - 1;
    uint64_t low = (uint64_t)(i - shift * HISTOGRAM_SUB) << shift;

    return low + ((1ull << shift) - 1) / 2.0;
}

double histogram_quantile(const struct histogram *h, double fraction)
{
    uint64_t wanted = (uint64_t)(fraction * h->count);
    uint64_t seen = 0;
    unsigned i;

    if (!h->count) {
        return 0;
    }
    if (wanted >= h->count) {
        wanted = h->count - 1;
    }
    for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen > wanted) {
            double middle = bucket_middle(i);

            return middle < h->max ? middle : h->max;
        }
    }
    return h->max;
}

double histogram_mean(const struct histogram *h)
{
    return h->count ? (double)h->sum / h->count : 0;
}
