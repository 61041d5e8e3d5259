/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The controller's registers (Base 3.1.3) and what happens when they are written:
 * enabling, reset (Base 3.7) and shutdown (Base 3.6).
 */
#include "target.h"

void registers_init(Target *t)
{
    NVME_CAP_SET_MQES(t->reg.cap, t->max_entries - 1);
    NVME_CAP_SET_CQR(t->reg.cap, 1);
    NVME_CAP_SET_TO(t->reg.cap, t->ready_timeout);
    NVME_CAP_SET_CSS(t->reg.cap, NVME_CAP_CSS_NCSS);
    features_reset(t);
}

static void set_running(Target *t)
{
    t->running = NVME_CSTS_RDY(t->reg.csts) && !NVME_CSTS_CFS(t->reg.csts) &&
                 !NVME_CSTS_SHST(t->reg.csts) && !t->gone;
}

void controller_fail(Target *t)
{
    t->reg.csts |= NVME_CSTS_FAILED;
    set_running(t);
}

void controller_set_gone(Target *t, bool gone)
{
    t->gone = gone;
    set_running(t);
}

/* Controller Level Reset, Base 3.7.2: AQA, ASQ and ACQ stay. */
static void disable(Target *t)
{
    t->running = false;
    t->resets++;
    t->reg.csts = 0;
    queues_delete_all(t);
    events_reset(t);
    features_reset(t);
}

void registers_reset(Target *t)
{
    disable(t);
    t->reg.cc = 0;
    t->reg.aqa = 0;
    t->reg.asq = t->reg.acq = 0;
}

static void enable(Target *t)
{
    uint32_t cc = t->reg.cc;

    queues_check_doorbells(t);          /* which are for nobody until now */
    t->enables++;
    t->reg.csts = 0;
    if (t->fail_reset) {
        t->fail_reset--;
        return;
    }
    if (NVME_CC_MPS(cc) || NVME_CC_CSS(cc) || NVME_CC_AMS(cc)) {
        driver_error(t, ERROR_REGISTER, "CC 0x%x asks for what CAP does not offer",
                     cc);
        controller_fail(t);
        return;
    }
    if (!queues_create_admin(t)) {
        controller_fail(t);
        return;
    }
    t->reg.csts |= NVME_CSTS_READY;
    set_running(t);
}

static void write_cc(Target *t, uint32_t cc)
{
    uint32_t old = t->reg.cc;
    uint32_t fixed = CC_CSS_MASK << CC_CSS_SHIFT | CC_MPS_MASK << CC_MPS_SHIFT |
                     CC_AMS_MASK << CC_AMS_SHIFT;

    if (NVME_CC_EN(old) && NVME_CC_EN(cc) && (old ^ cc) & fixed) {
        driver_error(t, ERROR_REGISTER, "CC changes from 0x%x to 0x%x while enabled",
                     old, cc);
    }
    t->reg.cc = cc;
    if (!NVME_CC_EN(old) && NVME_CC_EN(cc)) {
        enable(t);
    } else if (NVME_CC_EN(old) && !NVME_CC_EN(cc)) {
        disable(t);
    }
    if (NVME_CC_SHN(cc)) {
        t->reg.csts |= NVME_CSTS_SHST_COMPLETE;
        set_running(t);
    }
}

uint64_t register_read(Target *t, unsigned offset, unsigned size)
{
    NvmeBar bar = {
        .cap = t->reg.cap,
        .vs = TARGET_VERSION,
        .cc = t->reg.cc,
        .csts = t->reg.csts,
        .aqa = t->reg.aqa,
        .asq = t->reg.asq,
        .acq = t->reg.acq,
    };
    uint64_t value = 0;

    memcpy(&value, (uint8_t *)&bar + offset, size);
    return t->gone ? UINT64_MAX : value;
}

/* One half or all of a register of 64 bits. */
static void write_part(uint64_t *reg, unsigned offset, unsigned size, uint64_t value)
{
    memcpy((uint8_t *)reg + offset, &value, size);
}

void register_write(Target *t, unsigned offset, unsigned size, uint64_t value)
{
    bool admin_queue = offset >= NVME_REG_AQA && offset < NVME_REG_CMBLOC;

    if (t->gone) {
        return;
    }
    if (admin_queue && NVME_CC_EN(t->reg.cc)) {
        driver_error(t, ERROR_REGISTER, "0x%x written while enabled", offset);
    }
    if (size == 8 && offset != NVME_REG_ASQ && offset != NVME_REG_ACQ) {
        driver_error(t, ERROR_REGISTER, "8 bytes written to 0x%x", offset);
        return;
    }
    switch (offset) {
    case NVME_REG_CC:
        write_cc(t, value);
        break;
    case NVME_REG_AQA:
        t->reg.aqa = value;
        break;
    case NVME_REG_ASQ:
    case NVME_REG_ASQ + 4:
        write_part(&t->reg.asq, offset - NVME_REG_ASQ, size, value);
        break;
    case NVME_REG_ACQ:
    case NVME_REG_ACQ + 4:
        write_part(&t->reg.acq, offset - NVME_REG_ACQ, size, value);
        break;
    default:
        /* INTMS and INTMC too: they are not for MSI-X (Base 3.1.3.3) */
        driver_error(t, ERROR_REGISTER, "0x%x is not to be written", offset);
        break;
    }
}
