/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nvme-target: an NVMe controller for tests and benchmarks, which another process
 * reaches with the vfio-user protocol.
 *
 * One thread does it all (main.c): it reads the doorbells in memory that it shares
 * with the client, executes what it finds in the submission queues, and sees to
 * the sockets now and then.  A command is executed at once (io.c, admin.c) unless
 * a fault holds it back (faults.c), so that nothing is ever in flight but what
 * pending.c knows of.
 *
 *     device.c      the PCI function, as libvfio-user wants it
 *     registers.c   CAP to ACQ, enabling, reset and shutdown
 *     memory.c      the client's memory, by DMA address
 *     data.c        where a command's data is: PRPs and SGLs
 *     queues.c      fetches commands, posts completions
 *     namespaces.c  what is read and written
 *     control.c     the socket by which a test gives commands
 *
 * What a driver does wrong is answered with the status that the specification
 * names, counted, and said once (errors.c).
 *
 * "Base" is the NVM Express Base Specification 2.0, "NVM" the NVM Command Set
 * Specification 1.0, "PCIe" the NVMe over PCIe Transport Specification 1.0.
 */

#ifndef NVME_TARGET_H
#define NVME_TARGET_H

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/uio.h>
#include "block/nvme.h"
#include "qemu/atomic.h"
#include "qemu/queue.h"
#include "libvfio-user.h"

#if HOST_BIG_ENDIAN
#error "what is shared with the client is little endian, and used as it is"
#endif

#define TARGET_VERSION 0x00020000u      /* what is offered is there since then */
#define TARGET_PAGE 4096u               /* CC.MPS must say so */
#define TARGET_DOORBELLS 0x1000u        /* PCIe 3.1.2; and in the BAR: */
#define TARGET_MSIX_TABLE 0x2000u
#define TARGET_MSIX_PBA 0x3000u
#define TARGET_BAR_SIZE 0x4000u
#define TARGET_MAX_QUEUES 128           /* I/O queue pairs */
#define TARGET_MAX_NAMESPACES 64
#define TARGET_MAX_REGIONS 16           /* what libvfio-user takes */
#define TARGET_MAX_IOV 4096
#define TARGET_MAX_MDTS 9               /* 2 MiB */
#define TARGET_AERL 3                   /* 0's based, as in Identify */
#define TARGET_ELPE 63                  /* 0's based */
#define TARGET_ACL 3                    /* 0's based */

typedef struct Target Target;

typedef struct Cq {
    NvmeCqe *entries;           /* the client's memory; NULL: it was unmapped */
    const uint32_t *doorbell;   /* head: the register or its shadow */
    uint32_t *event_idx;        /* NULL without shadow doorbells */
    uint32_t size, head, tail;
    uint32_t bad_head;          /* the last value that was refused */
    uint64_t address;
    uint16_t id, vector;
    bool phase, ien;
    bool notify;                /* posted to since the last interrupt */
    unsigned n_sqs;
    uint64_t posted, interrupts;
} Cq;

typedef struct Sq {
    const NvmeCmd *entries;     /* as above */
    const uint32_t *doorbell;   /* tail */
    uint32_t *event_idx;
    Cq *cq;
    uint32_t size, head;
    uint32_t tail;              /* as the doorbell said when it was last taken */
    uint32_t bad_tail;          /* the last value that was refused */
    uint64_t address;
    uint16_t id;

    /*
     * By command identifier: the batch that the command was in, or CID_PENDING.
     * All commands of a batch were outstanding together, for none of them was
     * answered when the doorbell was written.
     */
    uint32_t *seen;
    uint32_t batch;
    uint64_t doorbells;         /* changes seen */
    uint64_t commands[256];     /* by opcode */
} Sq;

#define CID_PENDING UINT32_MAX

/* A piece of the client's memory. */
typedef struct Region {
    uint64_t iova, size;
    uint8_t *host;
    bool writable;
} Region;

typedef enum NamespaceKind {
    NAMESPACE_NULL,
    NAMESPACE_MEM,
    NAMESPACE_FILE,
} NamespaceKind;

typedef struct Namespace {
    NamespaceKind kind;
    bool present;
    uint8_t shift;              /* of the logical block size */
    uint64_t blocks;
    uint64_t bytes;             /* as it was given; blocks is rounded down */
    int fd;                     /* -1: null */
    uint8_t *memory;            /* mem */
} Namespace;

typedef enum FaultKind {
    FAULT_HOLD,
    FAULT_DELAY,
    FAULT_STATUS,
    FAULT_WRONG_CID,
    FAULT_DUPLICATE,
    FAULT_WRONG_PHASE,
    FAULT_BAD_SQ_HEAD,
    FAULT_CFS,
    FAULT_GONE,
    FAULT_DIE,
    FAULT__MAX,
    FAULT_NONE = FAULT__MAX,
} FaultKind;

typedef struct Fault {
    FaultKind kind;
    int queue;                  /* -1: any, -2: any I/O queue */
    int opcode;                 /* -1: any */
    uint32_t skip, count;       /* commands to let pass; to act on */
    uint32_t ms;                /* delay */
    uint16_t status;            /* as NvmeStatusCodes, with NVME_DNR */
} Fault;

#define TARGET_MAX_FAULTS 32

/* A command that was fetched and not answered. */
typedef struct Pending {
    QTAILQ_ENTRY(Pending) next;
    Sq *sq;
    NvmeCmd cmd;
    int64_t due;                /* ns; 0: when it is released */
    bool executed;              /* its completion alone was lost */
} Pending;

/* What a driver can do wrong; error_name[] in errors.c has the names. */
typedef enum DriverError {
    ERROR_REGISTER,
    ERROR_QUEUE,
    ERROR_DOORBELL,
    ERROR_CID,
    ERROR_PRP,
    ERROR_SGL,
    ERROR_ADDRESS,
    ERROR_SIZE,
    ERROR_FIELD,
    ERROR_UNMAP,
    ERROR__MAX,
} DriverError;

struct Target {
    /* options */
    const char *socket_path, *control_path;
    unsigned max_queues, max_entries, mdts, wzsl, dmrsl, ready_timeout;
    bool shadow_doorbells, sgl, map_doorbells, busy, vwc;

    /* device.c */
    vfu_ctx_t *vfu;
    bool attached;
    int connection;             /* of the client, if it is attached */
    uint16_t message;           /* the vfio-user command that is next, or 0 */
    uint8_t *bar;               /* TARGET_BAR_SIZE bytes of a memfd */
    int bar_fd;
    uint64_t interrupts, interrupts_lost;

    /* registers.c */
    struct {
        uint64_t cap, asq, acq;
        uint32_t cc, csts, aqa;
    } reg;
    bool running;               /* enabled, and neither failed nor gone */
    bool gone;
    unsigned fail_reset;        /* times that it shall not become ready */
    uint64_t resets;            /* EN 1 to 0, and those of the PCI function */
    uint64_t enables;

    /* memory.c: sorted by address */
    Region regions[TARGET_MAX_REGIONS];
    unsigned n_regions, max_regions;
    const Region *last;         /* that an address was found in */

    /* queues.c: by identifier */
    Cq *cq[TARGET_MAX_QUEUES + 1];
    Sq *sq[TARGET_MAX_QUEUES + 1];
    Sq *live[TARGET_MAX_QUEUES + 1];
    unsigned n_live;
    unsigned allocated;         /* by Set Features, Number of Queues */
    uint32_t *shadow, *event_idx;       /* Doorbell Buffer Config */
    uint64_t shadow_address, event_idx_address;
    uint64_t doorbell_messages; /* register writes, where they are not mapped */

    /* data.c: of the command that is being executed */
    struct iovec iov[TARGET_MAX_IOV];
    unsigned n_iov;

    /* namespaces.c */
    Namespace ns[TARGET_MAX_NAMESPACES];
    unsigned n_ns;

    /* pending.c */
    QTAILQ_HEAD(, Pending) pending;
    unsigned n_pending;

    /* events.c */
    uint16_t aer_cid[TARGET_AERL + 1];
    unsigned n_aer;
    uint32_t aec;               /* Asynchronous Event Configuration */
    bool event_masked[8];       /* by type: until its log page was read */
    uint32_t event_queued[8];   /* by type: result and EVENT_QUEUED, or 0 */
    bool changed[TARGET_MAX_NAMESPACES];

    /* faults.c */
    Fault faults[TARGET_MAX_FAULTS];
    unsigned n_faults;
    bool ignore_abort;

    /* features.c, logs.c */
    uint32_t arbitration, power_state, temperature_threshold;
    bool write_cache, queues_set;
    NvmeSmartLog smart;
    NvmeErrorLog errors_logged[TARGET_ELPE + 1];
    uint64_t n_errors_logged;

    /* errors.c */
    uint64_t errors[ERROR__MAX];
    uint64_t commands_admin[256], commands_io[256];     /* of deleted queues */

    /* io.c */
    uint64_t fua;               /* writes with Force Unit Access, of any kind */
};

extern Target target;

int64_t clock_ns(void);

/* device.c */
bool device_init(Target *t);
void device_serve(Target *t, bool hung_up);     /* what the client says */
int device_fd(Target *t);
void device_interrupt(Target *t, Cq *cq);
/* Takes away what the client has mapped of the BAR; from now on it is messages. */
bool device_truncate_bar(Target *t);
void device_destroy(Target *t);

/* registers.c */
void registers_init(Target *t);
void registers_reset(Target *t);        /* as after power on */
uint64_t register_read(Target *t, unsigned offset, unsigned size);
void register_write(Target *t, unsigned offset, unsigned size, uint64_t value);
void controller_fail(Target *t);        /* CSTS.CFS */
void controller_set_gone(Target *t, bool gone);

/* memory.c */
void memory_add(Target *t, uint64_t iova, uint64_t size, void *host, bool writable);
void memory_remove(Target *t, uint64_t iova);
void memory_catch_sigbus(void);
void *memory_find_slow(Target *t, uint64_t iova, uint64_t size, bool write);

/*
 * The memory at @iova, of which @size bytes will be written if @write; or NULL if
 * that is not one mapping's.  Hot: one compare with the mapping that was last used.
 */
static inline void *memory_find(Target *t, uint64_t iova, uint64_t size, bool write)
{
    const Region *r = t->last;

    if (likely(r && iova - r->iova < r->size &&
               size <= r->size - (iova - r->iova) && r->writable)) {
        return r->host + (iova - r->iova);
    }
    return memory_find_slow(t, iova, size, write);
}

/* data.c */
uint16_t data_map(Target *t, const NvmeCmd *cmd, uint64_t bytes, bool write);
uint16_t data_map_prps(Target *t, const NvmeCmd *cmd, uint64_t bytes, bool write);
uint16_t data_map_sgl(Target *t, const NvmeCmd *cmd, uint64_t bytes, bool write);
uint16_t data_add(Target *t, uint64_t iova, uint64_t bytes, bool write);
void data_to_client(Target *t, const void *from, size_t bytes);
void data_from_client(Target *t, void *to, size_t bytes);

/* queues.c */
bool queues_poll(Target *t);            /* true: there was something to do */
void queue_complete(Target *t, Sq *sq, uint16_t cid, uint16_t status,
                    uint32_t result);
uint16_t command_execute(Target *t, Sq *sq, const NvmeCmd *cmd, uint32_t *result);
unsigned cq_room(Target *t, Cq *cq, unsigned wanted);
void cq_post(Cq *cq, uint32_t result, uint16_t sqid, uint16_t sq_head, uint16_t cid,
             uint16_t status, bool phase);
void queues_interrupt(Target *t);       /* for what was posted since the last time */
void queues_check_doorbells(Target *t);
void queues_before_sleep(Target *t);

/* queue-init.c */
uint16_t cq_create(Target *t, const NvmeCmd *cmd);
uint16_t sq_create(Target *t, const NvmeCmd *cmd);
uint16_t cq_delete(Target *t, const NvmeCmd *cmd);
uint16_t sq_delete(Target *t, const NvmeCmd *cmd);
bool queues_create_admin(Target *t);
void queues_delete_all(Target *t);
void queues_unmapped(Target *t, uint64_t iova, uint64_t size);
uint16_t queues_set_shadow(Target *t, const NvmeCmd *cmd);

/* admin.c, identify.c, features.c, logs.c, io.c: status, or NVME_NO_COMPLETE */
uint16_t admin_execute(Target *t, Sq *sq, const NvmeCmd *cmd, uint32_t *result);
uint16_t identify(Target *t, const NvmeCmd *cmd);
uint16_t features_get(Target *t, const NvmeCmd *cmd, uint32_t *result);
uint16_t features_set(Target *t, const NvmeCmd *cmd, uint32_t *result);
void features_reset(Target *t);
uint16_t log_page_get(Target *t, const NvmeCmd *cmd);
void log_error(Target *t, const Sq *sq, const NvmeCmd *cmd, uint16_t status);
bool smart_set(Target *t, const char *field, uint64_t value);
uint16_t io_execute(Target *t, const NvmeCmd *cmd);

/* namespaces.c: @text as for --namespace; a message or NULL */
char *namespace_add(Target *t, const char *text);
char *namespace_resize(Target *t, unsigned nsid, uint64_t bytes);
uint16_t namespace_rw(Target *t, Namespace *ns, uint64_t offset, bool write);
uint16_t namespace_flush(Namespace *ns);
uint16_t namespace_zero(Namespace *ns, uint64_t offset, uint64_t bytes,
                        bool deallocate);
uint16_t namespace_compare(Target *t, Namespace *ns, uint64_t offset);

static inline Namespace *namespace_get(Target *t, uint32_t nsid)
{
    Namespace *ns = &t->ns[nsid - 1];

    return nsid - 1 < t->n_ns && ns->present ? ns : NULL;
}

/* pending.c */
Pending *pending_add(Target *t, Sq *sq, const NvmeCmd *cmd, int64_t due);
bool pending_abort(Target *t, uint16_t sqid, uint16_t cid, uint16_t status);
void pending_abort_queue(Target *t, Sq *sq);
unsigned pending_release(Target *t, unsigned most);
int64_t pending_run(Target *t);         /* when to call again, or INT64_MAX */
void pending_drop(Target *t);           /* by a reset: without completions */

/* faults.c: all give a message or NULL */
char *fault_add(Target *t, char **words);
const Fault *fault_find(Target *t, const Sq *sq, const NvmeCmd *cmd);
void fault_apply(Target *t, const Fault *fault, Sq *sq, const NvmeCmd *cmd);

/* events.c */
uint16_t event_request(Target *t, uint16_t cid);
bool event_abort(Target *t, uint16_t cid);
void event_raise(Target *t, unsigned type, unsigned info, unsigned page);
void event_log_read(Target *t, unsigned page);
void event_namespace_changed(Target *t, unsigned nsid);
void events_flush(Target *t);
void events_reset(Target *t);

/* errors.c */
void driver_error(Target *t, DriverError kind, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4) __attribute__((cold));
const char *driver_error_name(DriverError kind);

/* control.c, stats.c */
bool control_init(Target *t);
unsigned control_fds(Target *t, struct pollfd *fds);    /* at most CONTROL_FDS */
void control_serve(Target *t, const struct pollfd *fds, unsigned n);
void stats_print(Target *t, GString *out);

#define CONTROL_FDS 9

#endif
