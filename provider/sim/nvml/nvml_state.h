/*
 * The simulated cards, as they lie in the state file: written by a test, read by the library on every call.
 * state.py has the same structures in Python, field for field; a test compares their sizes.
 */
#include <stdint.h>

enum {
    MAX_GPUS = 16,
    MAX_PROCESSES = 16,
    MAX_FIELDS = 256,       /* numbered fields above 250 moved between driver branches: not simulated */
    MAX_UNSUPPORTED = 16,
    MAX_FAULTS = 16,
    SYMBOL_SIZE = 64,
    NAME_SIZE = 96,
    STATE_MAGIC = 0x4e564d53,
};

/* One numbered field of nvmlDeviceGetFieldValues. */
struct field {
    uint32_t is_supported;
    uint32_t value_type;    /* nvmlValueType_t: 1 is unsigned int, 3 is unsigned long long */
    uint64_t value;
};

struct gpu {
    uint32_t is_lost;       /* every call answers GPU_IS_LOST, as after "fallen off the bus" */
    uint32_t minor_number;
    char uuid[NAME_SIZE];
    char name[NAME_SIZE];
    char pci_bus_id[32];    /* upper case with an 8-digit domain: "00000000:18:00.0" */
    uint32_t architecture;
    uint32_t compute_major;
    uint32_t compute_minor;
    uint32_t has_own_memory; /* 0 on parts that share the host's: memory calls answer NOT_SUPPORTED */
    uint64_t memory_total;
    uint64_t memory_reserved;
    uint64_t memory_used;
    uint32_t utilization_percent;
    uint32_t memory_utilization_percent;
    uint32_t power_milliwatts;
    uint32_t power_limit_milliwatts;
    uint64_t energy_millijoules;
    uint32_t temperature_celsius;
    uint32_t has_fan;
    uint32_t fan_percent;
    uint32_t clock_megahertz[4]; /* graphics, SM, memory, video */
    uint32_t is_mig_capable;
    uint32_t is_mig_on;
    uint32_t process_count;
    uint32_t process_ids[MAX_PROCESSES];
    struct field fields[MAX_FIELDS];
    uint32_t unsupported_count;
    char unsupported[MAX_UNSUPPORTED][SYMBOL_SIZE]; /* symbols that answer NOT_SUPPORTED on this card */
};

/* Something that goes wrong with a call. The first that matches and is not used up counts. */
struct fault {
    char symbol[SYMBOL_SIZE]; /* "*" for every call */
    int32_t gpu;              /* index, or -1 for calls on any card and on none */
    int32_t return_code;      /* 0: the call is only slow */
    uint32_t delay_ms;
    uint32_t hangs;           /* the call returns when this becomes 0 */
    int32_t remaining;        /* so many times, then no more; negative: for ever */
    uint32_t hits;
};

struct state {
    uint32_t magic;
    uint32_t size;          /* sizeof(struct state): a mirror that differs is noticed at nvmlInit */
    uint32_t gpu_count;
    int32_t cuda_version;   /* 12080 is 12.8 */
    char driver_version[80];
    uint32_t fault_count;
    struct fault faults[MAX_FAULTS];
    struct gpu gpus[MAX_GPUS];
};
