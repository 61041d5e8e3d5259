/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What --help prints.
 */
#ifndef RINGLOAD_HELP_H
#define RINGLOAD_HELP_H

void help_print(void);

#endif
