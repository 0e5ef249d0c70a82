/*
 * The simulated cards, as they lie in the state file: written by a test, read by the library on every call.
 * state.py has the same structures in Python, field for field; a test compares their sizes.
 */
#include <stdint.h>

enum {
    MAX_GPUS = 16,
    MAX_INSTANCES = 8,
    MAX_LINKS = 18,
    MAX_PROCESSES = 16,
    MAX_FIELDS = 256,       /* numbered fields above 250 moved between driver branches: not simulated */
    MAX_UNSUPPORTED = 64,
    MAX_FAULTS = 16,
    MAX_EVENTS = 64,
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

/* One place in a card's table of MIG instances. The table is sparse: places between two may be empty. */
struct instance {
    uint32_t is_there;
    uint32_t gpu_instance;
    uint32_t compute_instance;
    uint32_t slices;
    char uuid[NAME_SIZE];
    char name[NAME_SIZE];
    uint64_t memory_total;
    uint64_t memory_reserved;
    uint64_t memory_used;
    uint32_t sm_active_percent;
    uint32_t tensor_active_percent;
};

struct link {
    uint32_t is_up;
    uint32_t remote_type;   /* nvmlIntNvLinkDeviceType_t: 0 a GPU, 1 a CPU, 2 a switch */
    uint32_t remote_gpu;    /* index, where it is one */
};

struct process {
    uint32_t pid;
    uint32_t gpu_instance;
    uint64_t memory_bytes;
};

struct gpu {
    uint32_t is_lost;       /* every call answers GPU_IS_LOST, as after "fallen off the bus" */
    uint32_t minor_number;
    char uuid[NAME_SIZE];
    char name[NAME_SIZE];
    char vbios[32];
    char pci_bus_id[32];    /* upper case with an 8-digit domain: "00000000:18:00.0" */
    uint32_t architecture;
    uint32_t compute_major;
    uint32_t compute_minor;
    uint32_t has_own_memory; /* 0 on parts that share the host's: memory calls answer NOT_SUPPORTED */
    uint64_t memory_total;
    uint64_t memory_reserved;
    uint64_t memory_used;
    uint64_t bar1_total;
    uint64_t bar1_used;
    uint32_t utilization_percent;
    uint32_t memory_utilization_percent;
    uint32_t encoder_percent;
    uint32_t decoder_percent;
    uint32_t sm_active_percent;     /* through GPM */
    uint32_t tensor_active_percent;
    uint32_t power_milliwatts;
    uint32_t power_limit_milliwatts;
    uint32_t power_default_milliwatts;
    uint64_t energy_millijoules;
    uint32_t temperature_celsius;
    int32_t margin_celsius;
    uint32_t thresholds_celsius[8]; /* shutdown, slowdown, memory's most ...; 0 is not supported */
    uint32_t has_fan;
    uint32_t fan_percent;
    uint32_t clock_megahertz[4];      /* graphics, SM, memory, video */
    uint32_t clock_most_megahertz[4];
    uint64_t clock_reasons;
    uint32_t performance_state;
    uint32_t is_persistent;
    uint32_t pcie_generation;
    uint32_t pcie_generation_most;
    uint32_t pcie_width;
    uint32_t pcie_width_most;
    uint32_t has_ecc;
    uint32_t is_ecc_on;
    uint32_t is_ecc_pending;
    uint64_t ecc_errors[2];         /* corrected, uncorrected; since the driver was loaded */
    uint32_t remapped_banks[5];     /* by rows left: max, high, partial, low, none */
    uint32_t is_mig_capable;
    uint32_t is_mig_on;
    uint32_t is_mig_pending;
    struct instance instances[MAX_INSTANCES];
    uint32_t link_count;
    struct link links[MAX_LINKS];
    uint32_t counts_links_apart;    /* no sums of counters over the links: each is asked for alone */
    uint32_t place[4];              /* PCIe switch, group of switches, host bridge, NUMA node */
    uint32_t has_fabric;
    uint32_t fabric_state;          /* 3 is completed */
    uint32_t fabric_status;
    uint32_t fabric_health_mask;
    uint32_t fabric_summary;        /* 1 healthy, 2 unhealthy, 3 limited; from version 3 of the structure */
    uint32_t is_inforom_corrupt;
    uint64_t event_types;           /* those that the card can tell */
    uint32_t process_count;
    struct process processes[MAX_PROCESSES];
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

struct event {
    uint32_t gpu;
    uint32_t gpu_instance;    /* ~0 for the whole card */
    uint64_t type;            /* nvmlEventType*: 8 is an Xid */
    uint64_t data;
};

struct state {
    uint32_t magic;
    uint32_t size;          /* sizeof(struct state): a mirror that differs is noticed at nvmlInit */
    uint32_t gpu_count;
    int32_t cuda_version;   /* 12080 is 12.8 */
    char driver_version[80];
    uint32_t fabric_version; /* of nvmlGpuFabricInfo_v*_t: the newest that this driver knows */
    uint32_t has_confidential;
    uint32_t is_confidential;
    uint32_t is_confidential_ready;
    uint32_t event_sets;    /* that somebody waits on, with cards registered */
    uint64_t event_head;    /* so many events ever were; the last MAX_EVENTS are in the ring */
    struct event events[MAX_EVENTS];
    uint32_t fault_count;
    struct fault faults[MAX_FAULTS];
    uint64_t calls;         /* ever made, by any process */
    struct gpu gpus[MAX_GPUS];
};
