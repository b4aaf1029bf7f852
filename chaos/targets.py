"""The readers that damaged files are given to, each as the commands call it.

To add a reader: a class with `make`, which writes whole files into the folder and lists what may be
damaged, and `read`, which reads them and raises `InputError` when they are bad; then a line in
`TARGETS`. `SHARES` says how much of a whole run it gets.
"""

import contextlib
import ctypes
import itertools
import json
import os
import signal
import struct
import time
from dataclasses import dataclass

import numpy as np

from chaos.mutations import damage_bytes, damage_json, generator

_SHAPES = {"data": (1, 3, 4, 4)}  # of the network of the parameter files
_TIME = 1_700_000_000 * 10**9  # of the packs, since the file beside them names it
_SIDE = 32  # pixels of the images that the small networks take


@dataclass(frozen=True)
class Sample:
    """Whole files, and the one of them that is damaged.

    Attributes
    ----------
    files : dict of str to bytes
        By name.
    victim : str
    fields : sequence of int
        Where its numbers stand.
    words : tuple of str
        Texts that may stand in it elsewhere (JSON).
    way : str
        How the target is to read it, where there are several ways.
    """

    files: dict
    victim: str
    fields: tuple = ()
    words: tuple = ()
    way: str = ""


class Target:
    """A reader with its files, in a folder of its own.

    Parameters
    ----------
    folder : str
        Gets the files; nothing else may be in it.
    """

    def __init__(self, folder):
        self.folder = folder
        self.samples = self.make()
        self.sample = None
        for sample in self.samples:  # what is whole must load, or the rest shows nothing
            self._write(sample, sample.files[sample.victim])
            self.read()

    def path(self, name):
        """Give the path of a file in the folder."""
        return os.path.join(self.folder, name)

    def damage(self, seed, name, number):
        """Write a sample with its damage; the same for the same arguments."""
        rng = generator(seed, name, number)
        sample = rng.choice(self.samples)
        content = sample.files[sample.victim]
        if sample.victim.endswith(".json"):
            content = damage_json(rng, content, sample.words)
        else:
            content = damage_bytes(rng, content, sample.fields)
        self._write(sample, content)

    def _write(self, sample, content):
        self.sample = sample
        for name in os.listdir(self.folder):
            os.remove(self.path(name))
        for name, whole in sample.files.items():
            with open(self.path(name), "wb") as file:
                file.write(content if name == sample.victim else whole)


class Params(Target):
    """``.params``, read and fitted to a network as `igc.symbol.load_checkpoint` and users do."""

    def make(self):
        """Files of every generation."""
        import mxnet as mx

        from igc import params

        net = mx.sym.Convolution(mx.sym.var("data"), kernel=(1, 1), num_filter=2, name="conv")
        net = mx.sym.BatchNorm(net, name="bn")
        self.network = mx.sym.FullyConnected(net, num_hidden=2, name="fc")
        arguments, _, auxiliary = self.network.infer_shape(**_SHAPES)
        rng = np.random.default_rng(0)
        arg, aux = (
            {name: rng.normal(size=shape).astype("f4") for name, shape in zip(*pair, strict=True)}
            for pair in (
                (self.network.list_arguments(), arguments),
                (self.network.list_auxiliary_states(), auxiliary),
            )
        )
        del arg["data"]
        named = params.join(arg, aux)
        double = {name: array.astype("f8") for name, array in named.items()}
        params.save(self.path("x"), named)
        params.save(self.path("y"), double)
        contents = [_content(self.path("x")), _content(self.path("y"))]
        contents += [_old_params(named, mark) for mark in (0xF993FAC8, 0xF993FACA, None)]
        params.save(
            self.path("z"),
            {
                "arg:rows": params.RowSparse(np.ones((2, 3), "f4"), np.array([0, 4]), (6, 3)),
                "arg:entries": params.Csr(
                    params.BFloat16(np.ones(3, "u2")),
                    np.array([0, 1, 1, 3]),
                    np.array([2, 0, 3]),
                    (3, 4),
                ),
                "arg:half": params.BFloat16(np.ones((2, 2), "u2")),
            },
        )
        ways = dict.fromkeys(contents, "network") | {_content(self.path("z")): "kinds"}
        return [
            Sample({"a.params": content}, "a.params", tuple(range(0, len(content), 4)), way=way)
            for content, way in ways.items()
        ]

    def read(self):
        """Load and match; of sparse arrays, load, fill in the zeros and write back."""
        import mxnet as mx

        from igc import params
        from igc import symbol as symbols
        from igc.params.kinds import plain

        if self.sample.way == "kinds":
            arrays = params.load(self.path("a.params"))
            params.save(self.path("again"), arrays)
            for array in arrays.values():
                if np.prod(array.shape) < 1 << 20:  # larger ones are what a user asks for
                    plain(array)
            return
        arg, aux = symbols.load_parameters(self.path("a.params"))
        arg, aux = symbols.match_parameters(self.network, arg, aux, _SHAPES)
        for array in (*arg.values(), *aux.values()):
            assert array.asnumpy().shape == array.shape
        mx.nd.waitall()


class Symbol(Target):
    """Symbol JSON, on the ways of summary.py and of evaluate.py up to the first outputs."""

    def make(self):
        """Small networks in every dialect and form."""
        import mxnet as mx

        from igc import operator
        from igc import symbol as symbols
        from igc.fuse import fuse

        words = tuple(sorted(mx.operator.get_all_registered_operators()))
        words += ("Custom", "Reorder", "InterleavedSpan", "null") * 20
        self.values, samples = {}, []
        forms = ("stock", "native") if operator.is_built() else ("stock",)
        for name, form in [*itertools.product(_NETWORKS, forms), ("mixture", "mixture")]:
            if name == "mixture":
                net = mixture()
            else:
                net = symbols.get_symbol(name, 10, operator=form, **_NETWORKS[name])
            texts = {form: net.tojson()}
            arguments, _, auxiliary = net.infer_shape(data=(1, 3, _SIDE, _SIDE))
            rng = np.random.default_rng(0)
            arg, aux = (
                {
                    name: mx.nd.array(rng.uniform(0.1, 0.2, shape))
                    for name, shape in zip(*pair, strict=True)
                }
                for pair in (
                    (net.list_arguments(), arguments),
                    (net.list_auxiliary_states(), auxiliary),
                )
            )
            arg = {n: v for n, v in arg.items() if n not in ("data", "softmax_label")}
            self.values[name] = arg, aux
            if form == "native":
                fused, *self.values[f"{name} fused"] = fuse(net, arg, aux)
                texts["fused"] = fused.tojson()
            elif form == "stock":
                texts["attr"] = _middle(net.tojson())
                texts["param"] = _old(net.tojson())
            for kind, text in texts.items():
                values = f"{name} fused" if kind == "fused" else name
                for way in ("summary", "evaluate"):
                    samples.append(
                        Sample(
                            {"a-symbol.json": text.encode(), "values": values.encode()},
                            "a-symbol.json",
                            words=words,
                            way=way,
                        )
                    )
        return samples

    def read(self):
        """Load, infer shapes, and count or compute."""
        import mxnet as mx

        from igc import symbol as symbols
        from igc.errors import InputError
        from igc.summary import count, table

        path, shape = self.path("a-symbol.json"), (3, _SIDE, _SIDE)
        if self.sample.way == "summary":
            net = symbols.load_symbol(path, operator="stock")
            with contextlib.suppress(InputError):  # the user then gives --image-shape
                shape = symbols.image_shape(net)
            symbols.check_input(net, shape)
            assert table(count(net, (1, *shape)))
            return
        from igc import arguments, heads
        from igc.evaluation import Evaluator

        net = symbols.load_symbol(path, None)
        fused, _ = arguments.fuses("native", net, [mx.cpu()])
        values = self.values[self.sample.files["values"].decode()]
        values = symbols.match_parameters(net, *values, {"data": (1, *shape)})
        evaluator = Evaluator(net, [mx.cpu()], _Images(shape), fused)
        assert evaluator.num_classes > 0
        module = evaluator._bind(*values)
        module.forward(mx.io.DataBatch([mx.nd.ones((1, *shape))], None), is_train=False)
        heads.prediction(module.get_outputs()).asnumpy()


@dataclass
class _Images:
    """What an evaluator asks of a loader."""

    image_shape: tuple
    batch_size: int = 1
    crops: int = 1


class Records(Target):
    """``.rec`` with and without its index: every record read, its label checked, decoded."""

    victim = "a.rec"

    def make(self):
        """Packs of three small images."""
        from igc.data import recordio

        rng = np.random.default_rng(0)
        pictures = rng.integers(0, 255, (3, 6, 7, 3), np.uint8)
        magic = struct.pack("<I", 0xCED7230A)
        packs = []
        for extension in (".png", ".jpg"):
            with recordio.RecordWriter(self.path("a.rec")) as writer:
                writer.write(0, recordio.encode(pictures[0], extension) + magic + b"tail")
                writer.write([1], recordio.encode(pictures[1], extension))
                writer.write(2, recordio.encode(pictures[2], extension))
            packs.append({name: _content(self.path(name)) for name in ("a.rec", "a.idx")})
        samples = []
        for pack in packs:
            starts = [int(line.split()[1]) for line in pack["a.idx"].decode().splitlines()]
            fields = [start + k for start in starts for k in range(0, 40, 4)]
            ways = (pack, {"a.rec": pack["a.rec"]}) if self.victim == "a.rec" else (pack,)
            samples += [Sample(files, self.victim, tuple(fields)) for files in ways]
        return samples

    def read(self):
        """Read what can be read; raise the first error."""
        from igc.data import recordio
        from igc.data.sources import check_label
        from igc.errors import InputError

        file = recordio.RecordFile(self.path("a.rec"))
        first = None
        try:
            for number in range(len(file)):
                try:
                    record = file.read(number)
                    check_label(float(np.ravel(record.label)[0]), 10, record.where)
                    image = recordio.decode(record)
                    assert image.ndim == 3 and image.dtype == np.uint8
                except InputError as error:
                    first = first or error
        finally:
            file.close()
        if first is not None:
            raise first


class Index(Records):
    """``.idx`` beside a whole pack."""

    victim = "a.idx"


class Skipped(Target):
    """What verification found, beside its pack, as ``--skip-bad-records`` reads it."""

    def make(self):
        """A pack with a bad record of four, and one without."""
        import cv2

        from igc.data import bad, recordio

        _, image = cv2.imencode(".png", np.zeros((6, 7, 3), np.uint8))
        samples = []
        for payload in (image.tobytes(), b"no image"):
            with recordio.RecordWriter(self.path("a.rec")) as writer:
                for label in range(4):
                    writer.write(label, payload if label == 2 else image.tobytes())
            self._open()
            names = ("a.rec", "a.idx", "a.rec.bad.json")
            files = {name: _content(self.path(name)) for name in names}
            samples.append(Sample(files, "a.rec.bad.json"))
            os.remove(bad.path_of(self.path("a.rec")))
        return samples

    def read(self):
        """Open the pack and read its images; the file is believed, so the pack's time is set."""
        for name in self.sample.files:
            os.utime(self.path(name), ns=(_TIME, _TIME))
        source = self._open()
        for number in range(len(source)):
            source.read(number)
        source._file.close()

    def _open(self):
        from igc.data.skip import open_sound

        os.utime(self.path("a.rec"), ns=(_TIME, _TIME))
        return open_sound(self.path("a.rec"), num_classes=4, threads=1, tell=len)


class States(Target):
    """An optimizer's state, put into a small module."""

    def make(self):
        """The state of a module after a step, for optimizers with none, one and two buffers."""
        import mxnet as mx

        from igc import optimizer_state, params

        self.modules, samples = {}, []
        for name in ("sgd", "nag", "adam", "lbsgd"):
            net = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, name="fc")
            net = mx.sym.SoftmaxOutput(net, mx.sym.var("softmax_label"), name="softmax")
            module = mx.mod.Module(net, context=mx.cpu())
            module.bind([("data", (2, 3))], [("softmax_label", (2,))])
            module.init_params()
            settings = (("momentum", 0.9),) if name == "nag" else ()
            module.init_optimizer(None, name, settings)
            batch = mx.io.DataBatch([mx.nd.ones((2, 3))], [mx.nd.zeros((2,))])
            module.forward_backward(batch)
            module.update()
            params.save(self.path("x"), optimizer_state.collect(module, (1, 2)))
            content = _content(self.path("x"))
            self.modules[name] = module
            fields = tuple(range(0, len(content), 4))
            samples.append(Sample({"a.states": content}, "a.states", fields, way=name))
        return samples

    def read(self):
        """Restore, then make a step."""
        import mxnet as mx

        from igc import optimizer_state

        module = self.modules[self.sample.way]
        schedule = optimizer_state.restore(module, self.path("a.states"))
        assert all(isinstance(number, int) for number in schedule)
        batch = mx.io.DataBatch([mx.nd.ones((2, 3))], [mx.nd.zeros((2,))])
        module.forward_backward(batch)
        module.update()
        mx.nd.waitall()


class Manifests(Target):
    """A checkpoint's manifest, and the file that tells about the run, as ``--resume`` reads them.

    Half of the damaged manifests carry the hash of what they say: the checks behind it are met too.
    """

    def make(self):
        """A checkpoint inside an epoch and one at its end, after an epoch that was scored."""
        from igc import metrics
        from igc.checkpoint import Checkpoints
        from igc.standing import Standing

        for name in os.listdir(self.folder):
            os.remove(self.path(name))
        net = _mx().sym.SoftmaxOutput(_mx().sym.var("data"), name="softmax")
        sums = metrics.Tally((5, 1.5, 2, 3)).sums
        row = {"epoch": 2, "lr": 0.1, "train_loss": 1.25, "val_top1": None}
        writer = Checkpoints(self.path("p"))
        writer.begin(net, {"seed": 3, "network": "plain"})
        writer.save(Standing(1, 0, 7, 32, 3, row={**row, "epoch": 1}), {}, {}, {})
        writer.note(1, {"val_top1": 0.5})
        writer.save(Standing(1, 3, 7, 32, 3, sums, sums, 1.5), {}, {}, {})
        writer.save(Standing(2, 0, 7, 32, 3, row=row), {}, {}, {})
        files = {name: _content(self.path(name)) for name in os.listdir(self.folder)}
        # a victim's ending says how it is damaged
        for name in [name for name in files if name.endswith(".manifest")]:
            files[f"{name}.json"] = files.pop(name)
        words = (writer._index["id"], "p-0001.params", "val_top1")
        victims = [name for name in files if name.endswith((".manifest.json", "checkpoints.json"))]
        return [
            Sample(files, victim, (), words, way)
            for victim in victims
            for way in ("as it is", "with its hash")
        ]

    def read(self):
        """Find the newest checkpoint and look at all that is known of it."""
        from igc import manifest
        from igc.checkpoint import Checkpoints

        for name in os.listdir(self.folder):
            if name.endswith(".manifest.json"):
                content = _content(self.path(name))
                if self.sample is not None and self.sample.way == "with its hash":
                    content = _with_hash(content)
                with open(self.path(name.removesuffix(".json")), "wb") as file:
                    file.write(content)
        checkpoints = Checkpoints(self.path("p"))
        standing, notes = checkpoints.newest()
        assert all(note.isprintable() for note in notes)
        if standing is not None:
            checkpoints.scores(standing.epoch)
            json.dumps(standing.to_json())
        if self.sample is not None and self.sample.victim.endswith(".manifest.json"):
            manifest.read(self.path(self.sample.victim.removesuffix(".json")))


def _mx():
    import mxnet

    return mxnet


def _with_hash(content):
    """Put its own hash into a damaged manifest, where it is still a table."""
    from igc import manifest

    try:
        table = json.loads(content)
        table.pop("sha256")
        table["sha256"] = manifest._sha256_of(table)
        return json.dumps(table).encode()
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return content


class Planted(Target):
    """A reader with every kind of defect, which shows that the harness sees them."""

    def make(self):
        """A file for each defect; what is damaged in it does not matter."""
        self.whole = True
        ways = ("crash", "hang", "memory", "claim", "exception", "lines", "fine")
        return [Sample({"a": b"whole"}, "a", way=way) for way in ways]

    def damage(self, seed, name, number):
        """Take the defects in turn."""
        self._write(self.samples[number % len(self.samples)], b"damaged")

    def read(self):
        """Fail as the file says; whole files load."""
        from igc.errors import InputError

        if _content(self.path("a")) == b"whole":
            return
        way = self.sample.way
        if way == "crash":
            ctypes.string_at(0)
        elif way == "hang":
            signal.alarm(60)  # should nobody end it
            while True:
                time.sleep(0.1)
        elif way == "memory":
            np.ones(600 << 20, np.uint8)
        elif way == "claim":
            np.empty(1 << 60, np.uint8)
        elif way == "exception":
            raise KeyError("an error that is none of ours")
        elif way == "lines":
            error = InputError("which takes care of this itself")
            error.args = ("two\nlines",)
            raise error


TARGETS = {
    "params": Params,
    "symbol": Symbol,
    "records": Records,
    "index": Index,
    "skipped": Skipped,
    "states": States,
    "manifest": Manifests,
    "planted": Planted,
}
# parts of a whole run
SHARES = {
    "params": 20,
    "symbol": 25,
    "records": 20,
    "index": 10,
    "skipped": 5,
    "states": 10,
    "manifest": 10,
}

_NETWORKS = {
    "plain_igc": {"depth": 5, "primary_partition": 2, "secondary_partition": 2},
    "resnet_igc": {"depth": 8, "primary_partition": 2, "secondary_partition": 2},
    "igcv3_cifar": {"multiplier": 0.25, "blocks": (1, 1, 1, 1, 1, 1, 1)},
}


def mixture():
    """Build a network of the layers that only other people's networks have."""
    import mxnet as mx

    data = mx.sym.var("data")
    net = mx.sym.Convolution(data, num_filter=8, kernel=(3, 3), stride=(2, 2), pad=(1, 1))
    net = mx.sym.LeakyReLU(net, act_type="leaky", slope=0.1)
    net = mx.sym.Pad(net, mode="constant", pad_width=(0, 0, 0, 0, 1, 1, 1, 1), constant_value=0)
    net = mx.sym.Pooling(
        net, kernel=(3, 3), stride=(2, 2), pool_type="max", pooling_convention="full"
    )
    left = mx.sym.slice_axis(net, axis=1, begin=0, end=4)
    right = mx.sym.slice(net, begin=(None, 4, None, None), end=(None, 8, None, None))
    net = mx.sym.Concat(mx.sym.tanh(left), mx.sym.sigmoid(right), dim=1)
    net = mx.sym.Dropout(net, p=0.2)
    scale = mx.sym.Activation(mx.sym.mean(net, axis=(2, 3), keepdims=True), act_type="sigmoid")
    net = mx.sym.broadcast_mul(net, scale)
    net = mx.sym.UpSampling(net, scale=2, sample_type="nearest")
    net = mx.sym.contrib.BilinearResize2D(net, height=6, width=6)
    net = mx.sym.contrib.AdaptiveAvgPooling2D(net, output_size=1)
    net = mx.sym.sum(mx.sym.expand_dims(net, axis=1), axis=1)
    net = mx.sym.add_n(net, net * 0.5, mx.sym.identity(net) + 3)
    net = mx.sym.swapaxes(mx.sym.Reshape(net, shape=(0, -4, 2, -1, -2)), dim1=1, dim2=2)
    net = mx.sym.FullyConnected(mx.sym.clip(net, a_min=-9, a_max=9), num_hidden=10, name="fc")
    return mx.sym.SoftmaxOutput(mx.sym.log_softmax(net, axis=1), name="softmax")


def _content(path):
    with open(path, "rb") as file:
        return file.read()


def _old_params(arrays, mark):
    """Write a parameter file of an earlier generation, or of NumPy's shapes."""
    content = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for array in arrays.values():
        shape = array.shape
        if mark is None:
            content += struct.pack(f"<I{len(shape)}I", len(shape), *shape)
        else:
            storage = struct.pack("<i", 0) if mark == 0xF993FACA else b""
            content += struct.pack("<I", mark) + storage
            content += struct.pack(f"<i{len(shape)}q", len(shape), *shape)
        content += struct.pack("<iii", 1, 0, 0) + array.tobytes()
    content += struct.pack("<Q", len(arrays))
    for name in arrays:
        content += struct.pack("<Q", len(name)) + name.encode()
    return content


def _middle(text):
    """Write symbol JSON as MXNet 1.1 did."""
    graph = json.loads(text)
    for node in graph["nodes"]:
        if "attrs" in node:
            node["attr"] = node.pop("attrs")
    graph["attrs"] = {"mxnet_version": ["int", 1100]}
    return json.dumps(graph)


def _old(text):
    """Write symbol JSON as MXNet 0.8 did: without auxiliary states."""
    graph = json.loads(text)
    nodes, numbers, records = graph["nodes"], {}, []
    for index, node in enumerate(nodes):
        if node["name"].endswith(("_moving_mean", "_moving_var")):
            continue
        numbers[index] = len(records)
        inputs = node["inputs"][:3] if node["op"] == "BatchNorm" else node["inputs"]
        records.append(
            {
                "op": node["op"],
                "param": node.get("attrs", {}) if node["op"] != "null" else {},
                "name": node["name"],
                "inputs": [[numbers[entry[0]], entry[1]] for entry in inputs],
                "backward_source_id": -1,
            }
        )
    arguments = [number for number, record in enumerate(records) if record["op"] == "null"]
    heads = [[numbers[entry[0]], entry[1]] for entry in graph["heads"]]
    return json.dumps({"nodes": records, "arg_nodes": arguments, "heads": heads})
