/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The property cpu-affinity of IOThreads and the names of their threads.
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "qapi/error.h"
#include "qapi/qapi-commands-iothread.h"
#include "qapi/qobject-input-visitor.h"
#include "qobject/qlist.h"
#include "qobject/qdict.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qom/object_interfaces.h"
#include "qom/qom-qobject.h"
#include "system/iothread.h"

/* The CPUs that this test may use; it needs one, and has more to say with two. */
static GArray *cpus;

static void find_cpus(void)
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

static int cpu_at(unsigned i)
{
    return g_array_index(cpus, int, i);
}

static QList *list_of(int n, ...)
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

/* Makes an IOThread as object-add does; NULL and @errp when refused. */
static IOThread *add(const char *id, QList *affinity, Error **errp)
{
    QDict *props = qdict_new();
    Visitor *v;
    Object *obj;

    if (affinity) {
        qdict_put(props, "cpu-affinity", affinity);
    }
    v = qobject_input_visitor_new(QOBJECT(props));
    obj = user_creatable_add_type(TYPE_IOTHREAD, id, props, v, errp);
    visit_free(v);
    qobject_unref(props);
    if (!obj) {
        return NULL;
    }
    object_unref(obj);   /* /objects holds it until del() */
    return IOTHREAD(obj);
}

static void del(const char *id)
{
    user_creatable_del(id, &error_abort);
}

/* What the kernel says: the truth that every view must agree with. */
static void assert_runs_on(IOThread *iothread, int n, ...)
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

static void assert_refused(Error *err, const char *what)
{
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(error_get_pretty(err), "'cpu-affinity'"));
    if (!strstr(error_get_pretty(err), what)) {
        g_error("'%s' does not say '%s'", error_get_pretty(err), what);
    }
    error_free(err);
}

static void thread_runs_where_it_is_told(void)
{
    int last = cpu_at(cpus->len - 1);
    IOThread *iothread = add("io0", list_of(1, last), &error_abort);

    assert_runs_on(iothread, 1, last);
    del("io0");
}

static void thread_inherits_when_nothing_is_told(void)
{
    IOThread *iothread = add("io0", NULL, &error_abort);
    cpu_set_t process, thread;

    g_assert_cmpint(sched_getaffinity(0, sizeof(process), &process), ==, 0);
    g_assert_cmpint(sched_getaffinity(iothread->thread_id, sizeof(thread),
                                      &thread), ==, 0);
    g_assert_true(CPU_EQUAL(&process, &thread));
    del("io0");
}

static void query_shows_what_the_kernel_has(void)
{
    IOThread *iothread = add("io0", list_of(1, cpu_at(0)), &error_abort);
    IOThreadInfoList *info = qmp_query_iothreads(&error_abort);
    cpu_set_t outside;

    g_assert_cmpstr(info->value->id, ==, "io0");
    g_assert_cmpint(info->value->cpu_affinity->value, ==, cpu_at(0));
    g_assert_null(info->value->cpu_affinity->next);
    qapi_free_IOThreadInfoList(info);

    /* as taskset or virsh iothreadpin do */
    CPU_ZERO(&outside);
    CPU_SET(cpu_at(cpus->len - 1), &outside);
    g_assert_cmpint(sched_setaffinity(iothread->thread_id, sizeof(outside),
                                      &outside), ==, 0);
    info = qmp_query_iothreads(&error_abort);
    g_assert_cmpint(info->value->cpu_affinity->value, ==,
                    cpu_at(cpus->len - 1));
    qapi_free_IOThreadInfoList(info);
    del("io0");
}

static void running_thread_can_be_moved(void)
{
    IOThread *iothread;
    QList *both;

    if (cpus->len < 2) {
        g_test_skip("needs two CPUs");
        return;
    }
    iothread = add("io0", list_of(1, cpu_at(0)), &error_abort);
    both = list_of(2, cpu_at(1), cpu_at(0));
    object_property_set_qobject(OBJECT(iothread), "cpu-affinity",
                                QOBJECT(both), &error_abort);
    qobject_unref(both);
    assert_runs_on(iothread, 2, cpu_at(0), cpu_at(1));
    del("io0");
}

static void refused_move_changes_nothing(void)
{
    IOThread *iothread = add("io0", list_of(1, cpu_at(0)), &error_abort);
    QList *list = list_of(2, cpu_at(cpus->len - 1), UINT16_MAX);
    Error *err = NULL;

    object_property_set_qobject(OBJECT(iothread), "cpu-affinity",
                                QOBJECT(list), &err);
    qobject_unref(list);
    assert_refused(err, "host CPU 65535");
    assert_runs_on(iothread, 1, cpu_at(0));
    del("io0");
}

static void absent_cpu_is_refused_by_number(void)
{
    Error *err = NULL;

    g_assert_null(add("io0", list_of(2, cpu_at(0), 65535), &err));
    assert_refused(err, "host CPU 65535");
    g_assert_null(iothread_by_id("io0"));
}

static void empty_list_is_refused(void)
{
    Error *err = NULL;

    g_assert_null(add("io0", list_of(0), &err));
    assert_refused(err, "names no host CPU");
}

static void assert_named(const char *id, const char *want)
{
    IOThread *iothread = add(id, NULL, &error_abort);
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/comm",
                                            iothread->thread_id);
    g_autofree char *name = NULL;

    g_assert_true(g_file_get_contents(path, &name, NULL, NULL));
    g_assert_cmpstr(g_strchomp(name), ==, want);
    del(id);
}

static void name_tells_which_iothread_it_is(void)
{
    assert_named("io0", "IO io0");
    assert_named("twelve-chars", "IO twelve-chars");
    assert_named("disk-with-a-name-0", "IO ~th-a-name-0");
    assert_named("disk-with-a-name-1", "IO ~th-a-name-1");
}

int main(int argc, char **argv)
{
    module_call_init(MODULE_INIT_QOM);
    qemu_init_main_loop(&error_abort);
    find_cpus();
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/iothread-placement/" #name, name)
    TEST(thread_runs_where_it_is_told);
    TEST(thread_inherits_when_nothing_is_told);
    TEST(query_shows_what_the_kernel_has);
    TEST(running_thread_can_be_moved);
    TEST(refused_move_changes_nothing);
    TEST(absent_cpu_is_refused_by_number);
    TEST(empty_list_is_refused);
    TEST(name_tells_which_iothread_it_is);
#undef TEST
    return g_test_run();
}
