/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "info iothreads": the lines of one IOThread that are ours.
 */

#include "qemu/osdep.h"
#include "monitor/iothread-hmp.h"

/* "0-3,8": a thread may run on hundreds of CPUs */
static void print_ranges(Monitor *mon, const char *name, const uint16List *l)
{
    const char *separator = "=";

    monitor_printf(mon, "  %s", name);
    while (l) {
        const uint16_t first = l->value;
        uint16_t last = first;

        for (l = l->next; l && l->value == last + 1; l = l->next) {
            last = l->value;
        }
        monitor_printf(mon, "%s%" PRIu16, separator, first);
        if (last != first) {
            monitor_printf(mon, "-%" PRIu16, last);
        }
        separator = ",";
    }
    monitor_printf(mon, "\n");
}

void iothread_hmp_print(Monitor *mon, const IOThreadInfo *info)
{
    const IOThreadCounters *counters = info->counters;

    monitor_printf(mon, "  poll-mode=%s\n",
                   IOThreadPollMode_str(info->poll_mode));
    if (info->has_cpu_affinity) {
        print_ranges(mon, "cpu-affinity", info->cpu_affinity);
    }
    if (info->has_node_affinity) {
        print_ranges(mon, "node-affinity", info->node_affinity);
    }
#define PRINT(name, member) \
    monitor_printf(mon, "  " name "=%" PRIu64 "\n", counters->member)
    PRINT("polls-hit", polls_hit);
    PRINT("polls-vain", polls_vain);
    PRINT("sleeps", sleeps);
    PRINT("syscalls", syscalls);
    PRINT("polled", polled);
    PRINT("descriptors", descriptors);
    PRINT("requests", requests);
    PRINT("bottom-halves", bottom_halves);
    PRINT("timers", timers);
#undef PRINT
}
