/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where IOThreads run on this host, and the names of their threads.
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "qapi/error.h"
#include "qapi/qapi-commands-iothread.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/bitmap.h"
#include "block/aio-wait.h"
#include "qom/qom-qobject.h"
#include "iothread-object.h"

#ifdef CONFIG_NUMA
#include <numa.h>
#include <numaif.h>
#endif

/* Makes an IOThread as object-add does; NULL and @errp when refused. */
static IOThread *add(const char *id, QList *affinity, Error **errp)
{
    QDict *props = qdict_new();

    if (affinity) {
        qdict_put(props, "cpu-affinity", affinity);
    }
    return iothread_add(id, props, errp);
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
    int last = cpu_at(cpu_count() - 1);
    IOThread *iothread = add("io0", list_of(1, last), &error_abort);

    assert_runs_on(iothread, 1, last);
    iothread_del("io0");
}

static void thread_inherits_when_nothing_is_told(void)
{
    IOThread *iothread = add("io0", NULL, &error_abort);
    cpu_set_t process, thread;

    g_assert_cmpint(sched_getaffinity(0, sizeof(process), &process), ==, 0);
    g_assert_cmpint(sched_getaffinity(iothread->thread_id, sizeof(thread),
                                      &thread), ==, 0);
    g_assert_true(CPU_EQUAL(&process, &thread));
    iothread_del("io0");
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
    CPU_SET(cpu_at(cpu_count() - 1), &outside);
    g_assert_cmpint(sched_setaffinity(iothread->thread_id, sizeof(outside),
                                      &outside), ==, 0);
    info = qmp_query_iothreads(&error_abort);
    g_assert_cmpint(info->value->cpu_affinity->value, ==,
                    cpu_at(cpu_count() - 1));
    qapi_free_IOThreadInfoList(info);
    iothread_del("io0");
}

static void running_thread_can_be_moved(void)
{
    IOThread *iothread;
    QList *both;

    if (cpu_count() < 2) {
        g_test_skip("needs two CPUs");
        return;
    }
    iothread = add("io0", list_of(1, cpu_at(0)), &error_abort);
    both = list_of(2, cpu_at(1), cpu_at(0));
    object_property_set_qobject(OBJECT(iothread), "cpu-affinity",
                                QOBJECT(both), &error_abort);
    qobject_unref(both);
    assert_runs_on(iothread, 2, cpu_at(0), cpu_at(1));
    iothread_del("io0");
}

static void refused_move_changes_nothing(void)
{
    IOThread *iothread = add("io0", list_of(1, cpu_at(0)), &error_abort);
    QList *list = list_of(2, cpu_at(cpu_count() - 1), UINT16_MAX);
    Error *err = NULL;

    object_property_set_qobject(OBJECT(iothread), "cpu-affinity",
                                QOBJECT(list), &err);
    qobject_unref(list);
    assert_refused(err, "host CPU 65535");
    assert_runs_on(iothread, 1, cpu_at(0));
    iothread_del("io0");
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

#ifdef CONFIG_NUMA
typedef struct Policy {
    int mode;
    unsigned long nodes[1024 / BITS_PER_LONG];
} Policy;

/* In the thread: a memory policy is its caller's. */
static void get_policy(void *opaque)
{
    Policy *policy = opaque;

    g_assert_cmpint(get_mempolicy(&policy->mode, policy->nodes,
                                  sizeof(policy->nodes) * 8, NULL, 0), ==, 0);
}

static void thread_prefers_memory_of_its_node(void)
{
    IOThread *iothread;
    QDict *props = qdict_new();
    Policy policy = {};
    int node;

    if (numa_available() < 0) {
        g_test_skip("no NUMA memory policies here");
        return;
    }
    node = numa_node_of_cpu(cpu_at(0));
    qdict_put(props, "node-affinity", list_of(1, node));
    iothread = iothread_add("io0", props, &error_abort);
    aio_wait_bh_oneshot(iothread->ctx, get_policy, &policy);

    /* the mode comes with flags; see linux/mempolicy.h */
    g_assert_cmpint(policy.mode & 0xff, ==, MPOL_PREFERRED);
    g_assert_cmpint(find_first_bit(policy.nodes, 1024), ==, node);
    g_assert_cmpint(bitmap_count_one(policy.nodes, 1024), ==, 1);

    memset(&policy, 0, sizeof(policy));
    get_policy(&policy);
    g_assert_cmpint(policy.mode, ==, MPOL_DEFAULT);
    iothread_del("io0");
}
#endif

static void assert_named(const char *id, const char *want)
{
    IOThread *iothread = add(id, NULL, &error_abort);
    g_autofree char *path = g_strdup_printf("/proc/self/task/%d/comm",
                                            iothread->thread_id);
    g_autofree char *name = NULL;

    g_assert_true(g_file_get_contents(path, &name, NULL, NULL));
    g_assert_cmpstr(g_strchomp(name), ==, want);
    iothread_del(id);
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
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/iothread-placement/" #name, name)
    TEST(thread_runs_where_it_is_told);
    TEST(thread_inherits_when_nothing_is_told);
    TEST(query_shows_what_the_kernel_has);
    TEST(running_thread_can_be_moved);
    TEST(refused_move_changes_nothing);
    TEST(absent_cpu_is_refused_by_number);
    TEST(empty_list_is_refused);
#ifdef CONFIG_NUMA
    TEST(thread_prefers_memory_of_its_node);
#endif
    TEST(name_tells_which_iothread_it_is);
#undef TEST
    return g_test_run();
}
