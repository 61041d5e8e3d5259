/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is read and written: nothing, memory, or a file.
 */
#include "target.h"
#include <sys/mman.h>
#include <linux/falloc.h>
#include "qemu/cutils.h"
#include "qemu/memfd.h"

#define NULL_BYTES (64ull << 30)
#define MEM_BYTES (64ull << 20)

static char *open_backing(Namespace *ns, const char *path)
{
    struct stat st;

    if (ns->kind == NAMESPACE_MEM) {
        ns->fd = memfd_create("nvme-target", MFD_CLOEXEC);
        return ns->fd < 0 ? g_strdup_printf("memfd: %s", strerror(errno)) : NULL;
    }
    ns->fd = open(path, O_RDWR | O_CLOEXEC);
    if (ns->fd < 0 || fstat(ns->fd, &st) < 0) {
        return g_strdup_printf("%s: %s", path, strerror(errno));
    }
    if (!ns->bytes) {
        off_t end = lseek(ns->fd, 0, SEEK_END);

        ns->bytes = MAX(end, 0);
    }
    return NULL;
}

/* The backing becomes as long as @bytes, and the namespace with it. */
static char *set_size(Namespace *ns, uint64_t bytes)
{
    uint64_t old = ns->blocks << ns->shift, new = bytes >> ns->shift << ns->shift;

    if (!new) {
        return g_strdup("size is less than a block");
    }
    if (ns->fd >= 0 && new != old) {
        struct stat st;

        if (fstat(ns->fd, &st) < 0 ||
            (S_ISREG(st.st_mode) && ftruncate(ns->fd, new) < 0)) {
            return g_strdup_printf("cannot resize: %s", strerror(errno));
        }
    }
    if (ns->kind == NAMESPACE_MEM && new != old) {
        void *p = mmap(NULL, new, PROT_READ | PROT_WRITE, MAP_SHARED, ns->fd, 0);

        if (p == MAP_FAILED) {
            return g_strdup_printf("cannot map: %s", strerror(errno));
        }
        if (ns->memory) {
            munmap(ns->memory, old);
        }
        ns->memory = p;
    }
    ns->bytes = bytes;
    ns->blocks = new >> ns->shift;
    return NULL;
}

static char *parse_property(Namespace *ns, const char *text)
{
    if (g_str_has_prefix(text, "size=")) {
        if (qemu_strtosz(text + 5, NULL, &ns->bytes) == 0 && ns->bytes) {
            return NULL;
        }
    } else if (!strcmp(text, "block=512")) {
        ns->shift = 9;
        return NULL;
    } else if (!strcmp(text, "block=4096")) {
        ns->shift = 12;
        return NULL;
    }
    return g_strdup_printf("takes size=BYTES and block=512 or 4096, not '%s'", text);
}

char *namespace_add(Target *t, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    Namespace ns = { .present = true, .shift = 9, .fd = -1 };
    const char *path = NULL;
    char *error = NULL;
    unsigned i;

    if (t->n_ns == TARGET_MAX_NAMESPACES) {
        return g_strdup("there are too many");
    }
    if (!g_strcmp0(words[0], "null")) {
        ns.kind = NAMESPACE_NULL;
    } else if (!g_strcmp0(words[0], "mem")) {
        ns.kind = NAMESPACE_MEM;
    } else if (words[0] && g_str_has_prefix(words[0], "file:")) {
        ns.kind = NAMESPACE_FILE;
        path = words[0] + strlen("file:");
    } else {
        return g_strdup("takes null, mem or file:PATH");
    }
    for (i = 1; words[i] && !error; i++) {
        error = parse_property(&ns, words[i]);
    }
    if (!error && !ns.bytes && ns.kind != NAMESPACE_FILE) {
        ns.bytes = ns.kind == NAMESPACE_NULL ? NULL_BYTES : MEM_BYTES;
    }
    if (!error && ns.kind != NAMESPACE_NULL) {
        error = open_backing(&ns, path);
    }
    if (!error) {
        error = set_size(&ns, ns.bytes);
    }
    if (!error) {
        t->ns[t->n_ns++] = ns;
    }
    return error;
}

char *namespace_resize(Target *t, unsigned nsid, uint64_t bytes)
{
    Namespace *ns = namespace_get(t, nsid);

    return ns ? set_size(ns, bytes) : g_strdup("no such namespace");
}

static uint16_t status_of_errno(int error, bool write)
{
    if (error == EFAULT) {
        return NVME_DATA_TRAS_ERROR;
    }
    if (error == ENOSPC) {
        return NVME_CAP_EXCEEDED | NVME_DNR;
    }
    return write ? NVME_WRITE_FAULT : NVME_UNRECOVERED_READ;
}

/* One system call for as much as it takes; what is left is done by the next. */
static uint16_t file_rw(Target *t, Namespace *ns, uint64_t offset, bool write)
{
    struct iovec *iov = t->iov;
    unsigned n = t->n_iov;

    while (n) {
        unsigned some = MIN(n, 1024);
        ssize_t done = write ? pwritev(ns->fd, iov, some, offset)
                             : preadv(ns->fd, iov, some, offset);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return status_of_errno(done ? errno : EIO, write);
        }
        offset += done;
        while (n && (size_t)done >= iov->iov_len) {
            done -= iov->iov_len;
            iov++;
            n--;
        }
        if (done) {
            iov->iov_base = (uint8_t *)iov->iov_base + done;
            iov->iov_len -= done;
        }
    }
    return NVME_SUCCESS;
}

uint16_t namespace_rw(Target *t, Namespace *ns, uint64_t offset, bool write)
{
    unsigned i;

    if (ns->kind == NAMESPACE_FILE) {
        return file_rw(t, ns, offset, write);
    }
    for (i = 0; i < t->n_iov && ns->memory; i++) {
        void *host = t->iov[i].iov_base;
        size_t bytes = t->iov[i].iov_len;

        memcpy(write ? ns->memory + offset : host,
               write ? host : ns->memory + offset, bytes);
        offset += bytes;
    }
    return NVME_SUCCESS;
}

uint16_t namespace_compare(Target *t, Namespace *ns, uint64_t offset)
{
    g_autofree uint8_t *buffer = NULL;
    unsigned i;

    for (i = 0; i < t->n_iov && ns->kind != NAMESPACE_NULL; i++) {
        size_t bytes = t->iov[i].iov_len;

        buffer = g_realloc(buffer, bytes);
        if (pread(ns->fd, buffer, bytes, offset) != (ssize_t)bytes) {
            return NVME_UNRECOVERED_READ;
        }
        if (memcmp(buffer, t->iov[i].iov_base, bytes)) {
            return NVME_CMP_FAILURE | NVME_DNR;
        }
        offset += bytes;
    }
    return NVME_SUCCESS;
}

uint16_t namespace_flush(Namespace *ns)
{
    if (ns->kind == NAMESPACE_FILE && fdatasync(ns->fd) < 0) {
        return NVME_WRITE_FAULT;
    }
    return NVME_SUCCESS;
}

uint16_t namespace_zero(Namespace *ns, uint64_t offset, uint64_t bytes,
                        bool deallocate)
{
    static const uint8_t zeroes[64 * 1024];
    int how = deallocate ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

    if (ns->kind == NAMESPACE_NULL ||
        fallocate(ns->fd, how | FALLOC_FL_KEEP_SIZE, offset, bytes) == 0) {
        return NVME_SUCCESS;
    }
    while (bytes) {
        ssize_t done = pwrite(ns->fd, zeroes, MIN(bytes, sizeof(zeroes)), offset);

        if (done < 0 && errno != EINTR) {
            return status_of_errno(errno, true);
        }
        if (done > 0) {
            offset += done;
            bytes -= done;
        }
    }
    return NVME_SUCCESS;
}
