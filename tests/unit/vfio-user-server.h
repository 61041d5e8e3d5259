/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vfio-user server for tests, in a thread of its own: it serves one client, and
 * does one thing wrong if it is told to.
 */

#ifndef TESTS_UNIT_VFIO_USER_SERVER_H
#define TESTS_UNIT_VFIO_USER_SERVER_H

#include <linux/vfio.h>
#include "../../block/nvme/vfio-user-wire.h"

#define SERVER_BAR     0x4000
#define SERVER_VECTORS 16
#define SERVER_MSG_FDS 3        /* that it says it takes in a message */
#define SERVER_MSIX    0x40     /* in its configuration space */

/* What is wrong with a reply. */
typedef enum Fault {
    FAULT_NONE,
    FAULT_ID,
    FAULT_COMMAND,
    FAULT_TYPE,
    FAULT_SIZE_SMALL,           /* in the header; ... */
    FAULT_SIZE_LARGE,
    FAULT_SIZE_WILD,
    FAULT_SHORT,                /* the payload's; as the header says */
    FAULT_LONG,
    FAULT_FDS,
    FAULT_MANY_FDS,
    FAULT_CUT_HEADER,           /* ... and the connection ends */
    FAULT_CUT_PAYLOAD,
    FAULT_CLOSE,
    FAULT_SILENT,
    FAULTS
} Fault;

typedef struct ServerReply {
    size_t size;                /* of the payload */
    uint32_t error;
    unsigned n_fds;
    int fds[32];                /* closed when they have been sent */
    QEMU_ALIGNED(8) uint8_t payload[8192];
} ServerReply;

typedef struct Server Server;
struct Server {
    /* How it is to be; before server_start(): */
    uint16_t fault_at;          /* command */
    Fault fault;
    unsigned fault_after;       /* as many of them that are well */
    /* the reply as it would be; may be NULL */
    void (*edit)(Server *s, uint16_t command, ServerReply *reply);
    int value;                  /* for it */
    unsigned requests;          /* of its own, before each reply */

    char *folder;
    char *path;
    int listener;
    int doorbells;              /* the file of BAR0 */
    int silence;                /* an eventfd: it will not reply */
    GThread *thread;

    GMutex lock;                /* protects what follows */
    int fd;                     /* the connection; -1: none */
    unsigned refused;           /* of its own requests */
    GString *log;               /* a line a request that changes something */
    uint8_t registers[NVME_DOORBELLS];
    uint8_t config[256];
    int irqs[SERVER_VECTORS];   /* -1: none */
};

void server_init(Server *s);
void server_start(Server *s);

/* After the client has closed its end: all has been read.  Then it can be stopped. */
void server_join(Server *s);

/* After the client has closed its end.  Frees what is in it. */
void server_stop(Server *s);

/* What has been logged since, for g_free(). */
char *server_log(Server *s);

/* A message that nobody asked for, or part of one. */
void server_send(Server *s, const void *bytes, size_t size);

/* Ends the connection. */
void server_hang_up(Server *s);

#endif /* TESTS_UNIT_VFIO_USER_SERVER_H */
