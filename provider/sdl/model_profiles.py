"""The language as data, continued: profiles, deployment, and the document itself.

Owns and promises the same as ``model``.
"""

from __future__ import annotations

from provider.sdl import model, scalars
from provider.sdl.model import FLAG, NAME, TEXT, Field, Listing, Names, Scalar, Section

_VERSIONS = [{"enum": ["2.0", "2.1"]}, {"enum": [2, 2.1]}, {"type": "string", "pattern": model.VERSION}]
SIZE = Scalar(read=scalars.read_bytes, schema=(("type", ["string", "number"]),))

CPU = Section(
    fields=(
        Field(
            name="units",
            shape=Scalar(read=scalars.read_cpu, schema=(("type", ["string", "number"]),)),
            about="Cores as 0.5, or milli-cores as 500m; 10m to 384.",
            is_required=True,
        ),
        Field(
            name="attributes",
            shape=Section(
                fields=(
                    Field(
                        name="arch",
                        shape=Scalar(
                            read=scalars.read_text,
                            choices=model.ARCHITECTURES,
                            is_soft=True,
                            schema=(("enum", list(model.ARCHITECTURES)),),
                        ),
                        about="Instruction set, amd64 or arm64.",
                    ),
                ),
                is_strict=True,
            ),
            about="What kind of CPU.",
        ),
    ),
    is_strict=True,
    strays=(("cores", 'did you mean "units"?'), ("size", 'did you mean "units"?')),
)
MEMORY = Section(
    fields=(Field(name="size", shape=SIZE, about="1Mi to 2Ti.", is_required=True),),
    strays=(("units", 'did you mean "size"?'), ("attributes", "drop it: memory has no attributes")),
)
STORAGE_ATTRIBUTES = Section(
    fields=(
        Field(
            name="persistent",
            shape=Scalar(read=scalars.read_text, schema=FLAG.schema),
            about="Whether it outlives the container (false).",
        ),
        Field(
            name="class",
            shape=Scalar(
                read=scalars.read_text,
                choices=model.STORAGE_CLASSES,
                schema=(("enum", list(model.STORAGE_CLASSES)),),
            ),
            about="beta1 (disk), beta2 (SSD), beta3 (NVMe), default, or ram (a tmpfs).",
        ),
    ),
    is_strict=True,
)
VOLUME = Section(
    fields=(
        Field(name="name", shape=NAME, about="Its name; default if there is one only."),
        Field(name="size", shape=SIZE, about="5Mi to 32Ti.", is_required=True),
        Field(name="attributes", shape=STORAGE_ATTRIBUTES, about="Persistence and class."),
    ),
    strays=(
        ("persistent", 'it stands under "attributes"'),
        ("class", 'it stands under "attributes"'),
        ("mount", 'mounts stand in the service, under "params.storage"'),
        ("units", 'did you mean "size"?'),
    ),
)
GPU_MODEL = Section(
    fields=(
        Field(name="model", shape=NAME, about="As h100, a100, rtx4090; any if not given."),
        Field(
            name="ram",
            shape=Scalar(read=scalars.read_gpu_ram),
            about="The card's memory, as 80Gi.",
        ),
        Field(
            name="interface",
            shape=Scalar(
                read=scalars.read_text,
                choices=model.INTERFACES,
                schema=(("enum", list(model.INTERFACES)),),
            ),
            about="pcie or sxm.",
        ),
    ),
    strays=(("memory", 'did you mean "ram"?'), ("vram", 'did you mean "ram"?')),
)
GPU = Section(
    fields=(
        Field(
            name="units",
            shape=Scalar(read=scalars.read_gpu_units, schema=(("type", ["integer", "string"]),)),
            about="How many, 0 to 24.",
        ),
        Field(
            name="attributes",
            shape=Section(
                fields=(
                    Field(
                        name="vendor",
                        shape=Section(
                            fields=(
                                Field(
                                    name="nvidia",
                                    shape=Listing(item=GPU_MODEL),
                                    about="Models that would do; any NVIDIA GPU if empty.",
                                ),
                            ),
                        ),
                        about="nvidia.",
                        is_required=True,
                    ),
                ),
                is_strict=True,
                strays=(("nvidia", 'it stands under "vendor"'), ("model", 'it stands under "vendor.nvidia"')),
            ),
            about="Which GPUs would do; needed for any.",
        ),
    ),
    is_strict=True,
    strays=(("count", 'did you mean "units"?'), ("vendor", 'it stands under "attributes"')),
)
RESOURCES = Section(
    fields=(
        Field(name="cpu", shape=CPU, about="Processor time.", is_required=True),
        Field(name="memory", shape=MEMORY, about="Working memory.", is_required=True),
        Field(
            name="storage",
            shape=Listing(item=VOLUME, is_or_one=True),
            about="Volumes; the one named default is the container's own disk.",
            is_required=True,
        ),
        Field(name="gpu", shape=GPU, about="Graphics processors."),
    ),
    strays=(("ram", 'did you mean "memory"?'), ("gpus", 'did you mean "gpu"?')),
)
COMPUTE = Section(
    fields=(Field(name="resources", shape=RESOURCES, about="What one replica gets.", is_required=True),),
    strays=tuple((each.name, 'it stands under "resources"') for each in RESOURCES.fields),
)
PRICE = Section(
    fields=(
        Field(name="denom", shape=NAME, about="uact, uakt or uusdc.", is_required=True),
        Field(
            name="amount",
            shape=Scalar(read=scalars.read_amount, schema=(("type", ["string", "number"]),)),
            about="Highest price a block (6 s) and replica, at most 10000000.",
            is_required=True,
        ),
    ),
    strays=(("price", 'did you mean "amount"?'), ("value", 'did you mean "amount"?')),
)
PLACEMENT = Section(
    fields=(
        Field(
            name="attributes",
            shape=Names(value=TEXT),
            about="What the provider must claim.",
        ),
        Field(
            name="signedBy",
            shape=Section(
                fields=(
                    Field(name="allOf", shape=Listing(item=NAME), about="Every one of these auditors."),
                    Field(name="anyOf", shape=Listing(item=NAME), about="At least one of these auditors."),
                ),
            ),
            about="Who must have signed the provider's attributes.",
        ),
        Field(
            name="pricing",
            shape=Names(value=PRICE),
            about="The highest price, by compute profile.",
            is_required=True,
        ),
    ),
    strays=(("signed_by", 'it is written "signedBy"'), ("price", 'did you mean "pricing"?')),
)
PROFILES = Section(
    fields=(
        Field(
            name="compute",
            shape=Names(value=COMPUTE),
            about="What replicas get.",
            is_required=True,
        ),
        Field(
            name="placement",
            shape=Names(value=PLACEMENT),
            about="Where, and for how much.",
            is_required=True,
        ),
    ),
)
DEPLOYED = Section(
    fields=(
        Field(name="profile", shape=NAME, about="The compute profile.", is_required=True),
        Field(
            name="count",
            shape=Scalar(read=scalars.read_integer, schema=(("type", "integer"), ("minimum", 1))),
            about="Replicas, 1 to 50.",
        ),
    ),
    strays=(("replicas", 'did you mean "count"?'),),
)
DOCUMENT = Section(
    fields=(
        Field(
            name="version",
            shape=Scalar(read=scalars.read_text, schema=(("anyOf", _VERSIONS),)),
            about="The language's version, 2.0 or 2.1.",
            is_required=True,
        ),
        Field(name="include", shape=Listing(item=NAME), about="Read and ignored, as Akash does."),
        Field(
            name="services",
            shape=Names(value=model.SERVICE, pattern=model.SERVICE_NAME),
            about="What runs.",
            is_required=True,
        ),
        Field(name="profiles", shape=PROFILES, about="With what, where, for how much.", is_required=True),
        Field(
            name="deployment",
            shape=Names(value=Names(value=DEPLOYED)),
            about="How many of what runs where.",
            is_required=True,
        ),
        Field(
            name="endpoints",
            shape=Names(value=model.ENDPOINT, pattern=model.ENDPOINT_NAME),
            about="Leased IP addresses.",
        ),
        Field(
            name="reclamation",
            shape=Section(
                fields=(
                    Field(
                        name="min_window",
                        shape=Scalar(read=scalars.read_window),
                        about="The notice that a provider must give before it takes the lease back, as 24h.",
                        is_required=True,
                    ),
                ),
            ),
            about="Protection against being moved without notice.",
        ),
    ),
    is_strict=True,
    strays=(("deploy", 'did you mean "deployment"?'), ("networks", "drop it: there are none in an SDL")),
)
