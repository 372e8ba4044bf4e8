"""The fused operations against their formulas, in odd sizes, and how they are built."""

import itertools
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ucluster_tune.model.operations import build
from ucluster_tune.model.operations.fused import FusedOperations
from ucluster_tune.model.operations.interface import Graph, LogitLayer

SIZES = [(3, 5, 4), (10, 16, 7), (17, 130, 9), (40, 300, 3)]  # neighbours, channels, jets
BOUNDS = {np.float64: 1e-10, np.float32: 3e-4}


@pytest.fixture(scope="module")
def fused():
    return FusedOperations.load()


def jets_of(sizes, dtype):
    """Values of rows, and a graph in which rows are neighbours of themselves and several times."""
    n_neighbors, n_channels, n_jets = sizes
    generator = np.random.default_rng(n_neighbors)
    n_rows = generator.integers(1, 120, n_jets)
    starts = np.append(0, np.cumsum(n_rows)).astype(np.int32)
    neighbors = np.concatenate(
        [
            generator.integers(begin, end, (end - begin, n_neighbors))
            for begin, end in itertools.pairwise(starts)
        ]
    ).astype(np.int32)
    values = generator.normal(size=(starts[-1], n_channels)).astype(dtype)
    return generator, tf.constant(values), Graph(tf.constant(neighbors), tf.constant(starts))


def with_gradients(function, sources, generator):
    """Return a function's results, and the gradient of a random sum of them."""
    with tf.GradientTape() as tape:
        tape.watch(sources)
        results = function(*sources)
        slopes = [generator.normal(size=result.shape) for result in results]
        total = tf.add_n(
            [tf.reduce_sum(r * tf.cast(s, r.dtype)) for r, s in zip(results, slopes, strict=True)]
        )
    return [*results, *tape.gradient(total, sources)]


def assert_equal(fused_function, formula, sources, dtype):
    found = with_gradients(fused_function, sources, np.random.default_rng(7))
    wanted = with_gradients(formula, sources, np.random.default_rng(7))
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        scale = max(1.0, np.abs(other).max())
        # In single precision rounding decides now and then which of two edges is the largest.
        most = np.quantile(np.abs(one - other), 1.0 if dtype is np.float64 else 0.999)
        assert most < BOUNDS[dtype] * scale, number
        assert np.abs(other).max() > 0, number


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("sizes", SIZES)
def test_moments_of_edges_are_those_of_the_edges_written_out(sizes, dtype, fused):
    generator, values, graph = jets_of(sizes, dtype)
    shares = tf.constant((generator.random(len(values)) / len(values)).astype(dtype))

    def formula(values):
        edges = values[:, None, :] - tf.gather(values, graph.neighbors)
        weights = shares[:, None, None] / graph.neighbors.shape[1]
        return [tf.reduce_sum(edges * weights, [0, 1]), tf.reduce_sum(edges**2 * weights, [0, 1])]

    def ours(values):
        return list(fused.edge_moments(values, graph, shares))

    assert_equal(ours, formula, [values], dtype)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("sizes", SIZES)
def test_features_of_edges_are_those_of_the_edges_written_out(sizes, dtype, fused):
    generator, values, graph = jets_of(sizes, dtype)
    vectors = [tf.constant(generator.normal(size=sizes[1]).astype(dtype)) for _ in range(3)]

    def relu(values, gamma, beta):
        return tf.nn.relu(values * gamma + beta), gamma, beta

    gamma, beta = tf.constant([0.1], dtype), tf.constant([0.2], dtype)

    def formula(values, scale, shift, weights):
        edges = tf.nn.relu(
            scale * (values[:, None, :] - tf.gather(values, graph.neighbors)) + shift
        )
        logits = tf.nn.relu(tf.tensordot(edges, weights, 1) * gamma + beta)
        coefficients = tf.nn.softmax(logits)[:, :, None]
        return [tf.reduce_sum(coefficients * edges, 1), tf.reduce_max(edges, 1)]

    def ours(values, scale, shift, weights):
        logit = LogitLayer(weights[:, None], gamma, beta, relu)
        return list(fused.edge_features(values, graph, scale, shift, logit)[:2])

    assert_equal(ours, formula, [values, *vectors], dtype)


@pytest.mark.parametrize("dtype", BOUNDS)
def test_batch_norm_does_not_lose_digits_where_the_mean_is_far_from_zero(dtype, fused):
    generator = np.random.default_rng(1)
    values = tf.constant((1000 + generator.normal(size=(500, 37))).astype(dtype))
    shares = tf.constant(np.full(500, 1 / 500, dtype))
    gamma, beta = tf.ones(37, dtype), tf.zeros(37, dtype)
    output, mean, variance = fused.batch_norm_relu(shares, 1e-3)(values, gamma, beta)
    exact = values.numpy().astype(np.float64)
    assert np.abs(mean - exact.mean(0)).max() < 1e-3
    assert np.abs(variance - exact.var(0)).max() < (1e-3 if dtype is np.float32 else 1e-9)
    wanted = np.maximum(exact - exact.mean(0), 0) / np.sqrt(exact.var(0) + 1e-3)
    assert np.abs(output - wanted).max() < (1e-2 if dtype is np.float32 else 1e-9)


def test_a_neighbour_in_another_jet_is_refused(fused):
    values = tf.zeros([4, 3])
    graph = Graph(tf.constant([[0], [2], [2], [3]]), tf.constant([0, 2, 4]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="row 2 is a neighbour in jet 0"):
        fused.edge_moments(values, graph, tf.ones([4]))


def test_what_is_no_number_stays_none(fused):
    values = tf.constant([[np.nan], [1.0]])
    graph = Graph(tf.constant([[1], [0]]), tf.constant([0, 2]))
    one = tf.ones([1])
    logit = LogitLayer(tf.ones([1, 1]), one, one, lambda v, g, b: (v * g + b, g, b))
    assert np.isnan(fused.edge_features(values, graph, one, one, logit).attended).all()
    assert np.isnan(fused.scale_shift_relu(values, one, one)[0, 0])


RESULT_WITH_THREADS = """
import hashlib, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
import numpy as np
from tests.model.test_operations import jets_of
from ucluster_tune.model.operations.fused import FusedOperations
generator, values, graph = jets_of((10, 64, 50), np.float32)
shares = tf.fill([len(values)], tf.constant(1 / len(values)))
with tf.GradientTape() as tape:
    tape.watch(values)
    moments = FusedOperations.load().edge_moments(values, graph, shares)
print(hashlib.sha256(tape.gradient(moments, values).numpy().tobytes()
                     + moments[1].numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_the_number_of_threads_changes_no_bit():
    results = {
        subprocess.run(
            [sys.executable, "-c", RESULT_WITH_THREADS, str(n_threads)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for n_threads in (1, 2, 7)
    }
    assert len(results) == 1


def test_a_library_of_other_sources_is_never_taken(tmp_path, monkeypatch):
    here = build.built_library().name
    copy = tmp_path / "csrc"
    shutil.copytree(build._SOURCES, copy, ignore=shutil.ignore_patterns("fused-*"))
    monkeypatch.setattr(build, "_SOURCES", copy)
    assert build._name(build._NATIVE) == here
    with (copy / "edges.h").open("a") as file:
        file.write("// changed\n")
    assert build._name(build._NATIVE) != here
    assert build._name(build._PORTABLE) != build._name(build._NATIVE)


@pytest.mark.parametrize(
    ("compiler", "words"),
    [
        ("false", "false failed"),
        ("/nowhere/g++", "cannot be started"),
        ("", "there is no g\\+\\+"),
    ],
)
def test_without_a_compiler_it_says_so(compiler, words, tmp_path, monkeypatch):
    copy = tmp_path / "csrc"
    copy.mkdir()
    (copy / "other.cc").write_text("int i;\n")
    monkeypatch.setattr(build, "_SOURCES", copy)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("PATH", "/usr/bin" if compiler == "false" else str(tmp_path))
    with pytest.raises(build.UnusableLibraryError, match=words):
        build.built_library()
    assert not list(copy.glob("*.so"))
