/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Identify: Base 5.17, NVM 4.1.5.
 */
#include "target.h"
#include "qemu/cutils.h"

#define NGUID "nvme-target-ns"

QEMU_BUILD_BUG_ON(sizeof(NvmeIdCtrl) != NVME_IDENTIFY_DATA_SIZE);
QEMU_BUILD_BUG_ON(sizeof(NvmeIdNs) != NVME_IDENTIFY_DATA_SIZE);

static void set_text(uint8_t *field, size_t size, const char *text)
{
    memset(field, ' ', size);
    memcpy(field, text, MIN(strlen(text), size));
}

static void fill_controller(Target *t, NvmeIdCtrl *id)
{
    id->vid = id->ssvid = 0x1b36;
    set_text(id->sn, sizeof(id->sn), "1");
    set_text(id->mn, sizeof(id->mn), "nvme-target");
    set_text(id->fr, sizeof(id->fr), "1");
    id->mdts = t->mdts;
    id->cntlid = 1;
    id->ver = TARGET_VERSION;
    id->oaes = NVME_OAES_NS_ATTR;
    id->cntrltype = 1;          /* I/O controller */
    id->oacs = t->shadow_doorbells ? NVME_OACS_DBCS : 0;
    id->acl = TARGET_ACL;
    id->aerl = TARGET_AERL;
    id->frmw = NVME_FRMW_SLOT1_RO | 1 << 1;
    id->lpa = NVME_LPA_EXTENDED;
    id->elpe = TARGET_ELPE;
    id->wctemp = 343;
    id->cctemp = 373;
    id->sqes = 6 << 4 | 6;
    id->cqes = 4 << 4 | 4;
    id->maxcmd = MIN(t->max_entries, UINT16_MAX);
    id->nn = t->n_ns;
    id->oncs = NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES | NVME_ONCS_COMPARE;
    id->vwc = NVME_VWC_NSID_BROADCAST_SUPPORT | (t->vwc ? NVME_VWC_PRESENT : 0);
    id->sgls = t->sgl ? NVME_CTRL_SGLS_SUPPORT_DWORD_ALIGN : 0;
    id->psd[0].mp = 2500;
    pstrcpy((char *)id->subnqn, sizeof(id->subnqn),
            "nqn.2019-08.org.qemu:nvme-target");
}

static void fill_namespace(const Namespace *ns, unsigned nsid, NvmeIdNs *id)
{
    id->nsze = id->ncap = id->nuse = ns->blocks;
    id->nsfeat = NVME_ID_NS_NSFEAT_THINP;
    id->dlfeat = ns->kind == NAMESPACE_NULL ? 0 :
                 NVME_ID_NS_DLFEAT_READ_BEHAVIOR_ZEROES | 1 << 3;
    id->lbaf[0].ds = ns->shift;
    memcpy(id->nguid, NGUID, sizeof(NGUID) - 1);
    id->nguid[15] = nsid;
}

/* Identifiers above @after, ascending. */
static void fill_list(Target *t, uint32_t after, uint32_t *list)
{
    unsigned nsid;

    for (nsid = 1; nsid <= t->n_ns; nsid++) {
        if (nsid > after && namespace_get(t, nsid)) {
            *list++ = nsid;
        }
    }
}

static void fill_descriptors(unsigned nsid, uint8_t *p)
{
    NvmeIdNsDescr nguid = { NVME_NIDT_NGUID, NVME_NIDL_NGUID };

    memcpy(p, &nguid, sizeof(nguid));
    memcpy(p + sizeof(nguid), NGUID, sizeof(NGUID) - 1);
    p[sizeof(nguid) + 15] = nsid;
}

uint16_t identify(Target *t, const NvmeCmd *cmd)
{
    union {
        NvmeIdCtrl controller;
        NvmeIdCtrlNvm limits;
        NvmeIdNs ns;
        uint32_t list[NVME_IDENTIFY_DATA_SIZE / sizeof(uint32_t)];
        uint8_t bytes[NVME_IDENTIFY_DATA_SIZE];
    } data = { };
    const Namespace *ns = namespace_get(t, cmd->nsid);
    uint16_t status;

    switch (cmd->cdw10 & 0xff) {
    case NVME_ID_CNS_NS:
        if (!cmd->nsid || (cmd->nsid > t->n_ns && cmd->nsid != NVME_NSID_BROADCAST)) {
            return NVME_INVALID_NSID | NVME_DNR;
        }
        if (ns) {               /* else zeroes: it is not active */
            fill_namespace(ns, cmd->nsid, &data.ns);
        }
        break;
    case NVME_ID_CNS_CTRL:
        fill_controller(t, &data.controller);
        break;
    case NVME_ID_CNS_CS_CTRL:
        if (cmd->cdw11 >> 24 != NVME_CSI_NVM) {
            return NVME_INVALID_FIELD | NVME_DNR;
        }
        data.limits.wzsl = t->wzsl;
        data.limits.dmrsl = t->dmrsl;
        break;
    case NVME_ID_CNS_NS_ACTIVE_LIST:
        if (cmd->nsid >= NVME_NSID_BROADCAST - 1) {
            return NVME_INVALID_NSID | NVME_DNR;
        }
        fill_list(t, cmd->nsid, data.list);
        break;
    case NVME_ID_CNS_NS_DESCR_LIST:
        if (!ns) {
            return NVME_INVALID_NSID | NVME_DNR;
        }
        fill_descriptors(cmd->nsid, data.bytes);
        break;
    default:
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    status = data_map_prps(t, cmd, sizeof(data), true);
    if (!status) {
        data_to_client(t, &data, sizeof(data));
    }
    return status;
}
