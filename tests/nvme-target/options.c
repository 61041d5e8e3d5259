/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of nvme-target and of nvmeping.
 */
#include "options.h"
#include <sched.h>
#include "qemu/cutils.h"

void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

unsigned option_number(const char *option, const char *text, unsigned least,
                       unsigned most)
{
    unsigned value;

    if (qemu_strtoui(text, NULL, 0, &value) < 0 || value < least || value > most) {
        die("--%s takes a number from %u to %u, not '%s'", option, least, most, text);
    }
    return value;
}

void option_cpu(const char *text)
{
    unsigned cpu = option_number("cpu", text, 0, CPU_SETSIZE - 1);
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0) {
        die("--cpu: cannot run on CPU %u: %s", cpu, strerror(errno));
    }
}
