/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests of the file leaves: rings whose batches are counted, whose requests fail as
 * no file would make them, and which stand in for devices that poll.
 */

#ifndef TESTS_UNIT_FAST_FILE_RING_H
#define TESTS_UNIT_FAST_FILE_RING_H

typedef enum Fault {
    FAULT_NONE,
    FAULT_RESULT,               /* the request answers fault.result */
    FAULT_SHORT,                /* the request transfers its first half only */
    FAULT_REFUSE,               /* the system call fails with fault.result */
} Fault;

typedef struct FaultState {
    Fault kind;
    int result;
    int left;                   /* how often, still */
    int after;                  /* as many calls, still, that go well */
    int calls;                  /* of aio_ring_enter() that had requests */
    int entries;
    int dsync;                  /* entries with RWF_DSYNC */
    int fsync;
    int fixed;                  /* entries with IOSQE_FIXED_FILE */
} FaultState;

extern FaultState fault;
extern int setup_error;         /* of rings, if not 0 */

/* From now on, @times, or never; the counts begin anew. */
void fault_set(Fault kind, int result, int times);

/* Whether the kernel can make a request fail with FAULT_RESULT. */
bool kernel_injects(void);

/* Whether it has what stands in for polled rings. */
bool kernel_has_stand_in(void);

#endif /* TESTS_UNIT_FAST_FILE_RING_H */
