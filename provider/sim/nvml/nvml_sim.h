/*
 * What the parts of the simulated library share: handles, return codes, and how every function begins.
 *
 * Signatures, structures and codes are those of nvml.h. Where the genuine driver is surprising, a comment
 * says so, because that is what the simulation is for.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "nvml_state.h"

#define EXPORT __attribute__((visibility("default")))

enum nvml_return {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    TIMEOUT = 10,
    CORRUPTED_INFOROM = 14,
    GPU_IS_LOST = 15,
    OUT_OF_MEMORY = 20,
    ARGUMENT_VERSION_MISMATCH = 25,
};

/* What a client gets as nvmlDevice_t: a pointer to one of these. */
struct device {
    uint32_t index;
    int32_t place; /* in the card's table of MIG instances; -1 for the card itself */
};

extern struct state *state;
extern struct device devices[MAX_GPUS][1 + MAX_INSTANCES];

int is_open(void);
void sleep_ms(uint32_t ms);
int fault_of(const char *symbol, int gpu);
int enter_gpu(const char *symbol, struct device *device, struct gpu **gpu);
int give_text(const char *text, size_t text_size, char *out, uint32_t out_size);

static inline struct instance *instance_of(struct device *device, struct gpu *gpu)
{
    return device->place < 0 ? NULL : &gpu->instances[device->place];
}

/* Opens every function on the library; on a card or an instance; on a card alone. */
#define ENTER_SYSTEM()                                                   \
    do {                                                                 \
        int failed_ = is_open() ? fault_of(__func__, -1) : UNINITIALIZED; \
        if (failed_)                                                     \
            return failed_;                                              \
    } while (0)
#define ENTER_UNIT(gpu)                                  \
    struct gpu *gpu;                                     \
    do {                                                 \
        int failed_ = enter_gpu(__func__, device, &gpu); \
        if (failed_)                                     \
            return failed_;                              \
    } while (0)
/* The genuine driver answers so where a MIG instance cannot tell what a whole card can. */
#define ENTER_GPU(gpu)      \
    ENTER_UNIT(gpu);        \
    if (device->place >= 0) \
    return INVALID_ARGUMENT

#define NUMBER_OF_CARD(symbol, type, number, is_known)  \
    EXPORT int symbol(struct device *device, type *out) \
    {                                                   \
        ENTER_GPU(gpu);                                 \
        if (!(is_known))                                \
            return NOT_SUPPORTED;                       \
        *out = gpu->number;                             \
        return SUCCESS;                                 \
    }
