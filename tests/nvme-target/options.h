/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the options of both programs have in common.
 */

#ifndef NVME_TARGET_OPTIONS_H
#define NVME_TARGET_OPTIONS_H

#include "qemu/osdep.h"

/* One line that begins with the program's name; ends it with status 1. */
void G_GNUC_PRINTF(1, 2) G_NORETURN die(const char *fmt, ...);

/* The number that is @option's @text, or the end. */
unsigned option_number(const char *option, const char *text, unsigned least,
                       unsigned most);

/* --cpu: the program runs there, or ends. */
void option_cpu(const char *text);

#endif /* NVME_TARGET_OPTIONS_H */
