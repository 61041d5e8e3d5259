/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The results: a table for people, JSON for programs. The JSON's keys are
 * documented in report_help, which --help prints.
 */
#ifndef RINGLOAD_REPORT_H
#define RINGLOAD_REPORT_H

#include "util.h"

struct device;
struct options;
struct queue;

extern const char report_help[];

void report_table(const struct options *o, const struct device *dev,
                  struct queue *const *queues);

/* Writes to o->json; dies where that is not possible. */
void report_json(const struct options *o, const struct device *dev,
                 struct queue *const *queues, int exit_status);

#endif
