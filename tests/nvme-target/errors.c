/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mistakes of the driver: counted by kind, and the first of each kind is printed.
 */
#include "target.h"

static const char *const error_name[ERROR__MAX] = {
    [ERROR_REGISTER] = "register",
    [ERROR_QUEUE] = "queue",
    [ERROR_DOORBELL] = "doorbell",
    [ERROR_CID] = "cid",
    [ERROR_PRP] = "prp",
    [ERROR_SGL] = "sgl",
    [ERROR_ADDRESS] = "address",
    [ERROR_SIZE] = "size",
    [ERROR_FIELD] = "field",
    [ERROR_UNMAP] = "unmap",
};

const char *driver_error_name(DriverError kind)
{
    return error_name[kind];
}

void driver_error(Target *t, DriverError kind, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    if (t->errors[kind]++) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fprintf(stderr, "nvme-target: driver error: %s: %s\n", error_name[kind], text);
}
