/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOThreads made as object-add makes them, and the host CPUs that a test of them
 * may use.
 */

#ifndef TESTS_IOTHREAD_OBJECT_H
#define TESTS_IOTHREAD_OBJECT_H

#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "system/iothread.h"

/* A test needs one CPU, and has more to say with two. */
unsigned cpu_count(void);
int cpu_at(unsigned i);

/* A list of @n ints. */
QList *list_of(int n, ...);

/* Takes @props; NULL and @errp when refused. */
IOThread *iothread_add(const char *id, QDict *props, Error **errp);
void iothread_del(const char *id);

/* The @n CPUs are those that the kernel has: the truth that every view tells. */
void assert_runs_on(IOThread *iothread, int n, ...);

#endif /* TESTS_IOTHREAD_OBJECT_H */
