/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that the front-end shares, mapped.
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qapi/error.h"
#include "qemu/madvise.h"
#include "qemu/mmap-alloc.h"
#include "export.h"

/*
 * There is no memory behind the end of its file.  For a file that is made shorter
 * later, see truncated-memory.h: other front-ends of the process are not to suffer
 * for it.
 */
static bool is_in_file(int fd, uint64_t offset, uint64_t size, Error **errp)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        error_setg_errno(errp, errno, "shared memory has no file");
        return false;
    }
    if (size == 0 || offset > INT64_MAX || size > INT64_MAX - offset ||
        (S_ISREG(st.st_mode) && offset + size > st.st_size)) {
        error_setg(errp, "%" PRIu64 " bytes at %" PRIu64 " of shared memory are "
                   "not in its file of %" PRIu64, size, offset,
                   (uint64_t)st.st_size);
        return false;
    }
    return true;
}

static void found_short(void *opaque)
{
    VuBlkExport *vexp = opaque;
    Error *err = NULL;

    error_setg(&err, vu_postcopy_is_lost(vexp) ?
               "it has gone with pages of a postcopy migration" :
               "it has made shared memory shorter");
    vu_drop(vexp, err);
}

bool vu_mapping_init(VuBlkExport *vexp, VuMapping *mapping, int fd,
                     uint64_t offset, uint64_t size, Error **errp)
{
    uint64_t page, start;

    if (!is_in_file(fd, offset, size, errp)) {
        return false;
    }
    /* huge pages are mapped, and unmapped, as a whole */
    page = qemu_fd_getpagesize(fd);
    start = QEMU_ALIGN_DOWN(offset, page);
    mapping->length = ROUND_UP(offset + size, page) - start;
    mapping->base = mmap(NULL, mapping->length, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_NORESERVE, fd, start);
    if (mapping->base == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map %" PRIu64 " bytes of shared "
                         "memory", size);
        *mapping = (VuMapping) { 0 };
        return false;
    }
    qemu_madvise(mapping->base, mapping->length, QEMU_MADV_DONTDUMP);
    mapping->truncated = truncated_memory_add(mapping->base, mapping->length,
                                              page, found_short, vexp);
    mapping->host = (uint8_t *)mapping->base + (offset - start);
    return true;
}

void vu_mapping_destroy(VuMapping *mapping)
{
    if (mapping->host) {
        vu_postcopy_forget(mapping);
        truncated_memory_remove(mapping->truncated);
        munmap(mapping->base, mapping->length);
    }
    *mapping = (VuMapping) { 0 };
}
