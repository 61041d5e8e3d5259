/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calibration of the hot path's clock against CLOCK_MONOTONIC_RAW.
 */
#include "tsc.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

struct tsc_clock tsc_clock = { .use_tsc = false, .ticks_per_us = 1000.0 };

#if defined(__x86_64__)
/* CPUID 8000_0007h, EDX bit 8: the counter's rate is constant in all states. */
static bool tsc_is_invariant(void)
{
    unsigned eax, ebx, ecx, edx;

    return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && (edx & 1 << 8);
}

/* The tightest of some readings of both clocks: least was in between. */
static void read_both(uint64_t *tsc, uint64_t *ns)
{
    uint64_t best = UINT64_MAX;
    int i;

    for (i = 0; i < 50; i++) {
        uint64_t before = __rdtsc();
        uint64_t raw = clock_raw_ns();
        uint64_t after = __rdtsc();

        if (after - before < best) {
            best = after - before;
            *tsc = before + best / 2;
            *ns = raw;
        }
    }
}
#endif

void tsc_calibrate(void)
{
#if defined(__x86_64__)
    struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
    uint64_t tsc0 = 0, tsc1 = 0, ns0 = 0, ns1 = 0;

    if (!tsc_is_invariant()) {
        return;
    }
    read_both(&tsc0, &ns0);
    nanosleep(&pause, NULL);
    read_both(&tsc1, &ns1);
    if (tsc1 > tsc0 && ns1 > ns0) {
        tsc_clock.ticks_per_us = (tsc1 - tsc0) * 1000.0 / (ns1 - ns0);
        tsc_clock.use_tsc = true;
    }
#endif
}
