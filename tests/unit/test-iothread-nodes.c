/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The property node-affinity of IOThreads on a recorded host with several NUMA
 * nodes: libnuma and the memory policy's system calls are played by this file,
 * CPU masks are the kernel's.
 */

#include "qemu/osdep.h"
#include <numa.h>
#include <numaif.h>
#include "qapi/error.h"
#include "qapi/qapi-commands-iothread.h"
#include "qemu/bitmap.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qobject/qnum.h"
#include "qom/qom-qobject.h"
#include "iothread-object.h"

/* Nodes of the recorded host. */
enum {
    FIRST,              /* memory, and this process's first CPU */
    LAST,               /* memory, and its last CPU */
    MEMORY_ONLY,        /* memory, no CPU */
    FORBIDDEN,          /* memory that the process's cpuset excludes */
    OTHERS,             /* memory, and a CPU that is not this process's */
    NODES,
    ABSENT = 7,
};

/* What the host does, and what it was told. */
static struct {
    bool unavailable;
    int get_errno;
    int set_errno;
    int policies_set;
    int mode;
    unsigned long nodes;
    int tid;
} host;

int __wrap_numa_available(void);
int __wrap_numa_node_to_cpus(int node, struct bitmask *cpus);
long __wrap_get_mempolicy(int *mode, unsigned long *nodes, unsigned long max,
                          void *addr, unsigned flags);
long __wrap_set_mempolicy(int mode, const unsigned long *nodes,
                          unsigned long max);

int __wrap_numa_available(void)
{
    return host.unavailable ? -1 : 0;
}

int __wrap_numa_node_to_cpus(int node, struct bitmask *cpus)
{
    g_assert_cmpint(node, <, NODES);
    numa_bitmask_clearall(cpus);
    switch (node) {
    case FIRST:
        numa_bitmask_setbit(cpus, cpu_at(0));
        break;
    case LAST:
        numa_bitmask_setbit(cpus, cpu_at(cpu_count() - 1));
        break;
    case OTHERS:
        numa_bitmask_setbit(cpus, cpus->size - 1);
        break;
    }
    return 0;
}

long __wrap_get_mempolicy(int *mode, unsigned long *nodes, unsigned long max,
                          void *addr, unsigned flags)
{
    g_assert_cmpuint(flags, ==, MPOL_F_MEMS_ALLOWED);
    g_assert_cmpuint(max, >=, NODES);
    if (host.get_errno) {
        errno = host.get_errno;
        return -1;
    }
    *nodes = 1 << FIRST | 1 << LAST | 1 << MEMORY_ONLY | 1 << OTHERS;
    return 0;
}

/* As the kernel does, this reads a bit less than it is told. */
long __wrap_set_mempolicy(int mode, const unsigned long *nodes,
                          unsigned long max)
{
    if (host.set_errno) {
        errno = host.set_errno;
        return -1;
    }
    host.policies_set++;
    host.mode = mode;
    host.nodes = *nodes & ((1ul << (max - 1)) - 1);
    host.tid = qemu_get_thread_id();
    return 0;
}

/* Takes both lists, each NULL for none. */
static IOThread *add(QList *cpus, QList *nodes, Error **errp)
{
    QDict *props = qdict_new();

    if (cpus) {
        qdict_put(props, "cpu-affinity", cpus);
    }
    if (nodes) {
        qdict_put(props, "node-affinity", nodes);
    }
    memset(&host, 0, sizeof(host));
    return iothread_add("io0", props, errp);
}

static void set(IOThread *iothread, const char *name, QList *list, Error **errp)
{
    object_property_set_qobject(OBJECT(iothread), name, QOBJECT(list), errp);
    qobject_unref(list);
}

/* What the thread told the kernel, by itself, and the flags set aside. */
static void assert_prefers(IOThread *iothread, int mode, unsigned long nodes)
{
    g_assert_cmpint(host.mode & 0xff, ==, mode);
    g_assert_cmphex(host.nodes, ==, nodes);
    g_assert_cmpint(host.tid, ==, iothread->thread_id);
}

static unsigned long mask_of(const uint16List *list)
{
    unsigned long mask = 0;

    for (; list; list = list->next) {
        mask |= 1ul << list->value;
    }
    return mask;
}

/* query-iothreads and qom-get. */
static void assert_shows(IOThread *iothread, unsigned long nodes)
{
    g_autoptr(IOThreadInfoList) info = qmp_query_iothreads(&error_abort);
    QObject *got = object_property_get_qobject(OBJECT(iothread), "node-affinity",
                                               &error_abort);
    const QListEntry *entry;
    unsigned long mask = 0;

    g_assert_cmphex(mask_of(info->value->node_affinity), ==, nodes);
    g_assert_cmpint(info->value->has_node_affinity, ==, nodes != 0);
    QLIST_FOREACH_ENTRY(qobject_to(QList, got), entry) {
        mask |= 1ul << qnum_get_int(qobject_to(QNum, qlist_entry_obj(entry)));
    }
    qobject_unref(got);
    g_assert_cmphex(mask, ==, nodes);
}

static void assert_refused(Error *err, const char *what)
{
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(error_get_pretty(err), "'node-affinity'"));
    if (!strstr(error_get_pretty(err), what)) {
        g_error("'%s' does not say '%s'", error_get_pretty(err), what);
    }
    error_free(err);
}

static int last_cpu(void)
{
    return cpu_at(cpu_count() - 1);
}

static void thread_runs_on_its_node_and_prefers_its_memory(void)
{
    IOThread *iothread = add(NULL, list_of(1, LAST), &error_abort);

    assert_runs_on(iothread, 1, last_cpu());
    assert_prefers(iothread, MPOL_PREFERRED, 1 << LAST);
    assert_shows(iothread, 1 << LAST);
    iothread_del("io0");
}

static void each_of_several_nodes_is_preferred(void)
{
    IOThread *iothread = add(NULL, list_of(3, LAST, FIRST, MEMORY_ONLY),
                             &error_abort);

    assert_runs_on(iothread, 2, cpu_at(0), last_cpu());
    assert_prefers(iothread, MPOL_PREFERRED_MANY,
                   1 << FIRST | 1 << LAST | 1 << MEMORY_ONLY);
    assert_shows(iothread, 1 << FIRST | 1 << LAST | 1 << MEMORY_ONLY);
    iothread_del("io0");
}

static void nothing_is_set_or_shown_where_none_was_told(void)
{
    IOThread *iothread = add(NULL, NULL, &error_abort);

    g_assert_cmpint(host.policies_set, ==, 0);
    assert_shows(iothread, 0);
    iothread_del("io0");
}

static void cpu_affinity_tells_the_cpus_and_nodes_the_memory(void)
{
    IOThread *iothread = add(list_of(1, cpu_at(0)), list_of(1, LAST),
                             &error_abort);

    assert_runs_on(iothread, 1, cpu_at(0));
    assert_prefers(iothread, MPOL_PREFERRED, 1 << LAST);

    set(iothread, "node-affinity", list_of(1, MEMORY_ONLY), &error_abort);
    assert_runs_on(iothread, 1, cpu_at(0));
    assert_prefers(iothread, MPOL_PREFERRED, 1 << MEMORY_ONLY);
    assert_shows(iothread, 1 << MEMORY_ONLY);
    iothread_del("io0");
}

static void running_thread_changes_node_and_then_cpus(void)
{
    IOThread *iothread = add(NULL, list_of(1, FIRST), &error_abort);

    assert_runs_on(iothread, 1, cpu_at(0));
    set(iothread, "node-affinity", list_of(1, LAST), &error_abort);
    assert_runs_on(iothread, 1, last_cpu());
    assert_prefers(iothread, MPOL_PREFERRED, 1 << LAST);
    assert_shows(iothread, 1 << LAST);

    set(iothread, "cpu-affinity", list_of(1, cpu_at(0)), &error_abort);
    assert_runs_on(iothread, 1, cpu_at(0));
    assert_shows(iothread, 1 << LAST);
    g_assert_cmpint(host.policies_set, ==, 2);

    set(iothread, "node-affinity", list_of(1, LAST), &error_abort);
    assert_runs_on(iothread, 1, cpu_at(0));
    iothread_del("io0");
}

static void refused_cpus_leave_the_cpus_to_the_nodes(void)
{
    IOThread *iothread = add(NULL, list_of(1, FIRST), &error_abort);
    Error *err = NULL;

    set(iothread, "cpu-affinity", list_of(1, UINT16_MAX), &err);
    g_assert_nonnull(err);
    error_free(err);
    set(iothread, "node-affinity", list_of(1, LAST), &error_abort);
    assert_runs_on(iothread, 1, last_cpu());
    iothread_del("io0");
}

/* Each way to be refused: at creation and for a thread that runs. */
static const struct {
    const char *name;
    int node;
    const char *says;
    bool unavailable;
    int get_errno;
    int set_errno;
} refusals[] = {
    { "absent", ABSENT, "host node 7" },
    { "far", UINT16_MAX, "host node 65535" },
    { "forbidden", FORBIDDEN, "has no memory that this process may use" },
    { "memory-only", MEMORY_ONLY, "have no CPU" },
    { "others", OTHERS, "is allowed for this process" },
    { "no-numa", LAST, "needs NUMA memory policies", .unavailable = true },
    { "get-filtered", LAST, "not permitted", .get_errno = EPERM },
    { "set-filtered", LAST, "not permitted", .set_errno = EPERM },
};

static void set_host(int i)
{
    host.unavailable = refusals[i].unavailable;
    host.get_errno = refusals[i].get_errno;
    host.set_errno = refusals[i].set_errno;
}

static void refused_change_changes_nothing(gconstpointer opaque)
{
    const int i = GPOINTER_TO_INT(opaque);
    IOThread *iothread = add(NULL, list_of(1, FIRST), &error_abort);
    Error *err = NULL;

    set_host(i);
    set(iothread, "node-affinity", list_of(1, refusals[i].node), &err);
    assert_refused(err, refusals[i].says);
    assert_runs_on(iothread, 1, cpu_at(0));
    assert_prefers(iothread, MPOL_PREFERRED, 1 << FIRST);
    assert_shows(iothread, 1 << FIRST);
    iothread_del("io0");
}

static void refused_at_creation(gconstpointer opaque)
{
    const int i = GPOINTER_TO_INT(opaque);
    QDict *props = qdict_new();
    Error *err = NULL;

    memset(&host, 0, sizeof(host));
    set_host(i);
    qdict_put(props, "node-affinity", list_of(1, refusals[i].node));
    g_assert_null(iothread_add("io0", props, &err));
    assert_refused(err, refusals[i].says);
    g_assert_null(iothread_by_id("io0"));
}

static void empty_list_is_refused(void)
{
    Error *err = NULL;

    g_assert_null(add(NULL, list_of(0), &err));
    assert_refused(err, "names no host node");
}

static void record_nodes(void)
{
    int node;

    numa_nodes_ptr = numa_bitmask_alloc(NODES);
    for (node = 0; node < NODES; node++) {
        numa_bitmask_setbit(numa_nodes_ptr, node);
    }
}

int main(int argc, char **argv)
{
    int i;

    module_call_init(MODULE_INIT_QOM);
    qemu_init_main_loop(&error_abort);
    record_nodes();
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/iothread-nodes/" #name, name)
    TEST(thread_runs_on_its_node_and_prefers_its_memory);
    TEST(each_of_several_nodes_is_preferred);
    TEST(nothing_is_set_or_shown_where_none_was_told);
    TEST(cpu_affinity_tells_the_cpus_and_nodes_the_memory);
    TEST(running_thread_changes_node_and_then_cpus);
    TEST(refused_cpus_leave_the_cpus_to_the_nodes);
    TEST(empty_list_is_refused);
#undef TEST
    for (i = 0; i < ARRAY_SIZE(refusals); i++) {
        g_autofree char *running =
            g_strdup_printf("/iothread-nodes/refused_change_changes_nothing/%s",
                            refusals[i].name);
        g_autofree char *made =
            g_strdup_printf("/iothread-nodes/refused_at_creation/%s",
                            refusals[i].name);

        g_test_add_data_func(running, GINT_TO_POINTER(i),
                             refused_change_changes_nothing);
        g_test_add_data_func(made, GINT_TO_POINTER(i), refused_at_creation);
    }
    return g_test_run();
}
