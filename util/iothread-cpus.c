/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host CPUs that an IOThread's thread may run on, as the kernel has them.
 */

#include "qemu/osdep.h"
#include <sched.h>
#include "qemu/bitmap.h"
#include "qemu/thread.h"
#include "qapi/error.h"
#include "iothread-affinity.h"

/* What a list of uint16 can name. */
#define MAX_CPUS (UINT16_MAX + 1ul)

/*
 * 0 or an errno.  (qemu_thread_get_affinity() fails on hosts with more than 1024
 * CPUs.)
 */
static int get_affinity(IOThread *iothread, IOThreadSet *cpus)
{
#if defined(CONFIG_PTHREAD_AFFINITY_NP)
    unsigned long room, cpu;

    /* EINVAL: the kernel's own set is larger (sched_getaffinity(2)) */
    for (room = CPU_SETSIZE; room <= MAX_CPUS; room *= 2) {
        const size_t size = CPU_ALLOC_SIZE(room);
        cpu_set_t *set = CPU_ALLOC(room);
        int ret = pthread_getaffinity_np(iothread->thread.thread, size, set);

        if (!ret) {
            *cpus = (IOThreadSet) { bitmap_new(room), room };
            for (cpu = 0; cpu < room; cpu++) {
                if (CPU_ISSET_S(cpu, size, set)) {
                    set_bit(cpu, cpus->bits);
                }
            }
        }
        CPU_FREE(set);
        if (ret != EINVAL) {
            return ret;
        }
    }
    return EINVAL;
#else
    return ENOSYS;
#endif
}

bool iothread_get_cpus(IOThread *iothread, IOThreadSet *cpus, Error **errp)
{
    const int err = get_affinity(iothread, cpus);

    if (err) {
        g_autofree char *id = iothread_get_id(iothread);

        error_setg_errno(errp, err, "cannot read the CPU affinity of IOThread "
                         "'%s'", id);
    }
    return !err;
}

/* The first CPU of @cpus that @allowed lacks, or as many as @cpus has bits. */
static unsigned long first_missing(const IOThreadSet *cpus,
                                   const IOThreadSet *allowed)
{
    unsigned long cpu;

    for (cpu = find_first_bit(cpus->bits, cpus->nbits); cpu < cpus->nbits;
         cpu = find_next_bit(cpus->bits, cpus->nbits, cpu + 1)) {
        if (cpu >= allowed->nbits || !test_bit(cpu, allowed->bits)) {
            break;
        }
    }
    return cpu;
}

bool iothread_cpu_is_listed(unsigned long cpu, const char *list)
{
    while (g_ascii_isdigit(*list)) {
        char *end;
        unsigned long first = strtoul(list, &end, 10);
        unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;

        if (cpu >= first && cpu <= last) {
            return true;
        }
        list = *end == ',' ? end + 1 : end;
    }
    return false;
}

/* Why the host does not let the thread run on @cpu. */
static void error_set_refused(Error **errp, IOThread *iothread,
                              unsigned long cpu)
{
    ERRP_GUARD();
    g_autofree char *id = iothread_get_id(iothread);
    g_autofree char *online = NULL;

    /* a list of ranges such as "0-3,8"; Linux: Documentation/ABI/stable */
    if (g_file_get_contents("/sys/devices/system/cpu/online", &online, NULL,
                            NULL)) {
        g_strchomp(online);
    }
    if (online && !iothread_cpu_is_listed(cpu, online)) {
        error_setg(errp, "host CPU %lu in 'cpu-affinity' of IOThread '%s' does "
                   "not exist or is offline", cpu, id);
        error_append_hint(errp, "CPUs that are online: %s\n", online);
        return;
    }
    error_setg(errp, "host CPU %lu in 'cpu-affinity' of IOThread '%s' is not "
               "allowed for this process", cpu, id);
    error_append_hint(errp, "Name a CPU of the process's cpuset, or add this "
                      "one to it (cgroup cpuset.cpus, docker --cpuset-cpus).\n");
}

/*
 * What the kernel makes of it: 0 or an errno, which comes with an error unless
 * it is EINVAL: the process may use none of @cpus.
 */
static int move(IOThread *iothread, const char *option, const IOThreadSet *cpus,
                Error **errp)
{
    ERRP_GUARD();
    g_autofree char *id = iothread_get_id(iothread);
    const int err = abs(qemu_thread_set_affinity(&iothread->thread, cpus->bits,
                                                 cpus->nbits));

    if (!err || err == EINVAL) {
        return err;
    }
    error_setg_errno(errp, err, "cannot set the CPUs of '%s' of IOThread '%s'",
                     option, id);
    if (err == EPERM) {
        error_append_hint(errp, "-sandbox resourcecontrol=deny forbids it; "
                          "allow that, or pin the thread from outside "
                          "(taskset, virsh iothreadpin).\n");
    }
    return err;
}

bool iothread_set_cpus(IOThread *iothread, const IOThreadSet *cpus,
                       Error **errp)
{
    IOThreadSet before = {}, now = {};
    unsigned long missing;
    bool done = false;
    int err;

    if (!iothread_get_cpus(iothread, &before, errp)) {
        return false;
    }
    err = move(iothread, "cpu-affinity", cpus, errp);
    if (!err || err == EINVAL) {
        /* The kernel leaves out, silently, what the process may not use. */
        if (!err) {
            get_affinity(iothread, &now);
        }
        missing = first_missing(cpus, &now);
        done = missing == cpus->nbits;
        if (!done) {
            error_set_refused(errp, iothread, missing);
            iothread_restore_cpus(iothread, &before);
        }
    }
    g_free(now.bits);
    g_free(before.bits);
    return done;
}

bool iothread_set_node_cpus(IOThread *iothread, const IOThreadSet *cpus,
                            Error **errp)
{
    ERRP_GUARD();
    const int err = move(iothread, "node-affinity", cpus, errp);

    if (err == EINVAL) {
        g_autofree char *id = iothread_get_id(iothread);

        error_setg(errp, "no CPU of the host nodes in 'node-affinity' of "
                   "IOThread '%s' is allowed for this process", id);
        error_append_hint(errp, "Add some to the process's cpuset (cgroup "
                          "cpuset.cpus, docker --cpuset-cpus), or say with "
                          "cpu-affinity where the thread runs.\n");
    }
    return !err;
}

void iothread_restore_cpus(IOThread *iothread, const IOThreadSet *cpus)
{
    qemu_thread_set_affinity(&iothread->thread, cpus->bits, cpus->nbits);
}
