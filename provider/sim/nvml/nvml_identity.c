/*
 * The simulated library: what a card, or a MIG instance of it, is.
 */
#include "nvml_sim.h"

#define TEXT_OF_UNIT(symbol, text)                                               \
    EXPORT int symbol(struct device *device, char *out, uint32_t size)           \
    {                                                                            \
        ENTER_UNIT(gpu);                                                         \
        struct instance *instance = instance_of(device, gpu);                    \
        return give_text(instance ? instance->text : gpu->text, NAME_SIZE, out, size); \
    }

TEXT_OF_UNIT(nvmlDeviceGetUUID, uuid)
TEXT_OF_UNIT(nvmlDeviceGetName, name)
NUMBER_OF_CARD(nvmlDeviceGetMinorNumber, uint32_t, minor_number, 1)
NUMBER_OF_CARD(nvmlDeviceGetArchitecture, uint32_t, architecture, 1)
NUMBER_OF_CARD(nvmlDeviceGetEnforcedPowerLimit, uint32_t, power_limit_milliwatts, gpu->power_limit_milliwatts)
NUMBER_OF_CARD(nvmlDeviceGetPowerManagementDefaultLimit, uint32_t, power_default_milliwatts, gpu->power_default_milliwatts)
NUMBER_OF_CARD(nvmlDeviceGetMaxPcieLinkGeneration, uint32_t, pcie_generation_most, gpu->pcie_generation_most)
NUMBER_OF_CARD(nvmlDeviceGetMaxPcieLinkWidth, uint32_t, pcie_width_most, gpu->pcie_width_most)

EXPORT int nvmlDeviceGetVbiosVersion(struct device *device, char *out, uint32_t size)
{
    ENTER_GPU(gpu);
    return give_text(gpu->vbios, sizeof gpu->vbios, out, size);
}

/* Reads the whole of it and compares its checksum. */
EXPORT int nvmlDeviceValidateInforom(struct device *device)
{
    ENTER_GPU(gpu);
    return gpu->is_inforom_corrupt ? CORRUPTED_INFOROM : SUCCESS;
}

EXPORT int nvmlDeviceGetCudaComputeCapability(struct device *device, int *major, int *minor)
{
    ENTER_GPU(gpu);
    *major = (int)gpu->compute_major;
    *minor = (int)gpu->compute_minor;
    return SUCCESS;
}

struct pci_info { /* nvmlPciInfo_t, 68 bytes */
    char bus_id_legacy[16];
    uint32_t domain;
    uint32_t bus;
    uint32_t device;
    uint32_t device_id;
    uint32_t subsystem_id;
    char bus_id[32];
};

static void give_pci(const struct gpu *gpu, struct pci_info *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->bus_id, gpu->pci_bus_id, sizeof out->bus_id);
}

EXPORT int nvmlDeviceGetPciInfo_v3(struct device *device, struct pci_info *out)
{
    ENTER_GPU(gpu);
    give_pci(gpu, out);
    return SUCCESS;
}

EXPORT int nvmlDeviceGetMaxClockInfo(struct device *device, uint32_t domain, uint32_t *out)
{
    ENTER_GPU(gpu);
    if (domain >= 4)
        return INVALID_ARGUMENT;
    if (!gpu->clock_most_megahertz[domain])
        return NOT_SUPPORTED;
    *out = gpu->clock_most_megahertz[domain];
    return SUCCESS;
}

EXPORT int nvmlDeviceGetTemperatureThreshold(struct device *device, uint32_t which, uint32_t *out)
{
    ENTER_GPU(gpu);
    if (which >= 8)
        return INVALID_ARGUMENT;
    if (!gpu->thresholds_celsius[which])
        return NOT_SUPPORTED;
    *out = gpu->thresholds_celsius[which];
    return SUCCESS;
}

EXPORT int nvmlDeviceGetEccMode(struct device *device, uint32_t *current, uint32_t *pending)
{
    ENTER_GPU(gpu);
    if (!gpu->has_ecc)
        return NOT_SUPPORTED;
    *current = gpu->is_ecc_on;
    *pending = gpu->is_ecc_pending;
    return SUCCESS;
}

/* ---- MIG --------------------------------------------------------------------------------------- */

/* NOT_SUPPORTED means that the card cannot do MIG at all, not that it is off. */
EXPORT int nvmlDeviceGetMigMode(struct device *device, uint32_t *current, uint32_t *pending)
{
    ENTER_GPU(gpu);
    if (!gpu->is_mig_capable)
        return NOT_SUPPORTED;
    *current = gpu->is_mig_on;
    *pending = gpu->is_mig_pending;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetMaxMigDeviceCount(struct device *device, uint32_t *out)
{
    ENTER_GPU(gpu);
    *out = gpu->is_mig_capable ? MAX_INSTANCES - 1 : 0;
    return SUCCESS;
}

/* Sparse: an empty place is NOT_FOUND, and places after it may hold one. */
EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, uint32_t place, struct device **out)
{
    ENTER_GPU(gpu);
    if (!gpu->is_mig_capable)
        return NOT_SUPPORTED;
    if (place >= MAX_INSTANCES)
        return INVALID_ARGUMENT;
    if (!gpu->is_mig_on || !gpu->instances[place].is_there)
        return NOT_FOUND;
    *out = &devices[device->index][1 + place];
    return SUCCESS;
}

#define NUMBER_OF_INSTANCE(symbol, number)                  \
    EXPORT int symbol(struct device *device, uint32_t *out) \
    {                                                       \
        ENTER_UNIT(gpu);                                    \
        if (device->place < 0)                              \
            return INVALID_ARGUMENT;                        \
        *out = gpu->instances[device->place].number;        \
        return SUCCESS;                                     \
    }

NUMBER_OF_INSTANCE(nvmlDeviceGetGpuInstanceId, gpu_instance)
NUMBER_OF_INSTANCE(nvmlDeviceGetComputeInstanceId, compute_instance)

struct attributes { /* nvmlDeviceAttributes_t, 40 bytes */
    uint32_t multiprocessors;
    uint32_t copy_engines;
    uint32_t decoders;
    uint32_t encoders;
    uint32_t jpeg;
    uint32_t ofa;
    uint32_t gpu_slices;
    uint32_t compute_slices;
    uint64_t memory_mib;
};

EXPORT int nvmlDeviceGetAttributes_v2(struct device *device, struct attributes *out)
{
    ENTER_UNIT(gpu);
    struct instance *instance = instance_of(device, gpu);
    if (!instance)
        return NOT_SUPPORTED;
    *out = (struct attributes){
        .gpu_slices = instance->slices,
        .compute_slices = instance->slices,
        .memory_mib = instance->memory_total >> 20,
    };
    return SUCCESS;
}

/* ---- how cards reach each other ---------------------------------------------------------------- */

#define ENTER_LINK(gpu)           \
    ENTER_GPU(gpu);               \
    if (!gpu->link_count)         \
        return NOT_SUPPORTED;     \
    if (number >= gpu->link_count) \
    return INVALID_ARGUMENT

EXPORT int nvmlDeviceGetNvLinkState(struct device *device, uint32_t number, uint32_t *out)
{
    ENTER_LINK(gpu);
    *out = gpu->links[number].is_up;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetNvLinkRemoteDeviceType(struct device *device, uint32_t number, uint32_t *out)
{
    ENTER_LINK(gpu);
    *out = gpu->links[number].remote_type;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct device *device, uint32_t number, struct pci_info *out)
{
    ENTER_LINK(gpu);
    if (gpu->links[number].remote_gpu >= MAX_GPUS)
        return INVALID_ARGUMENT;
    give_pci(&state->gpus[gpu->links[number].remote_gpu], out);
    return SUCCESS;
}

/* nvmlGpuTopologyLevel_t: the nearer, the smaller. */
EXPORT int nvmlDeviceGetTopologyCommonAncestor(struct device *device, struct device *other, uint32_t *out)
{
    ENTER_GPU(gpu);
    if (other < &devices[0][0] || other >= &devices[MAX_GPUS][0])
        return INVALID_ARGUMENT;
    *out = 50;
    for (int level = 4; level > 0; level--)
        if (gpu->place[level - 1] == state->gpus[other->index].place[level - 1])
            *out = (uint32_t)level * 10;
    return SUCCESS;
}
