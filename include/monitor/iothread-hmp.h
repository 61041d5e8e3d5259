/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What "info iothreads" shows beyond what the base's command does.
 */

#ifndef MONITOR_IOTHREAD_HMP_H
#define MONITOR_IOTHREAD_HMP_H

#include "monitor/monitor.h"
#include "qapi/qapi-types-iothread.h"

/* Prints how the thread waits, where it runs and what it counted. */
void iothread_hmp_print(Monitor *mon, const IOThreadInfo *info);

#endif /* MONITOR_IOTHREAD_HMP_H */
