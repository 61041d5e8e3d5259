/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOThreads as object-add makes them, for tests.
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "qapi/error.h"
#include "qapi/qobject-input-visitor.h"
#include "qom/object_interfaces.h"
#include "iothread-object.h"

static GArray *cpus;

static void __attribute__((__constructor__)) find_cpus(void)
{
    cpu_set_t set;
    int cpu;

    cpus = g_array_new(false, false, sizeof(int));
    g_assert_cmpint(sched_getaffinity(0, sizeof(set), &set), ==, 0);
    for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            g_array_append_val(cpus, cpu);
        }
    }
    g_assert_cmpuint(cpus->len, >, 0);
}

unsigned cpu_count(void)
{
    return cpus->len;
}

int cpu_at(unsigned i)
{
    return g_array_index(cpus, int, i);
}

QList *list_of(int n, ...)
{
    QList *list = qlist_new();
    va_list ap;

    va_start(ap, n);
    while (n--) {
        qlist_append_int(list, va_arg(ap, int));
    }
    va_end(ap);
    return list;
}

IOThread *iothread_add(const char *id, QDict *props, Error **errp)
{
    Visitor *v = qobject_input_visitor_new(QOBJECT(props));
    Object *obj = user_creatable_add_type(TYPE_IOTHREAD, id, props, v, errp);

    visit_free(v);
    qobject_unref(props);
    if (!obj) {
        return NULL;
    }
    object_unref(obj);   /* /objects holds it until iothread_del() */
    return IOTHREAD(obj);
}

void iothread_del(const char *id)
{
    user_creatable_del(id, &error_abort);
}

void assert_runs_on(IOThread *iothread, int n, ...)
{
    cpu_set_t want, now;
    va_list ap;

    CPU_ZERO(&want);
    va_start(ap, n);
    while (n--) {
        CPU_SET(va_arg(ap, int), &want);
    }
    va_end(ap);
    g_assert_cmpint(sched_getaffinity(iothread->thread_id, sizeof(now), &now),
                    ==, 0);
    g_assert_true(CPU_EQUAL(&want, &now));
}
