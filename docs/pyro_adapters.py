"""Programs of Pyro's repository, and what separates each from the zoo: an adapter of at most five lines."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 5
"""The most lines of an adapter."""


@dataclass(frozen=True)
class Example:
    """A file of Pyro's repository, and the adapter that follows its imports, functions and classes."""

    file: str
    adapter: str
    about: str = ""
    end: str = ""
    """Text of the first statement that is left out, with what follows it, of a tutorial that redefines its names."""


CHORDS = 'event, args = zoo.Event.parse("x=6x88:binary~n,n=:7@given"), argparse.Namespace(hidden_dim=16, jit=True)\n'
TONES = "args.nn_dim, args.nn_channels = 48, 2\ntones_generator = TonesGenerator(args, 88)\n"
PRIORS = (
    "guide = pyro.infer.autoguide.AutoNormal(poutine.block(model, expose_fn=lambda site: site['name'][:6] == 'probs_'))"
)


def hmm(number: int) -> str:
    """The adapter of a hidden Markov model of ``examples/hmm.py``."""
    return (
        f"{CHORDS}{TONES if number in (5, 7) else ''}model = lambda x, n: model_{number}(x, n.long(), args)\n{PRIORS}"
    )


EXAMPLES = (
    Example("examples/vae/vae.py", 'event, vae = zoo.Event(784, "binary"), VAE()\nmodel, guide = vae.model, vae.guide'),
    Example(
        "examples/vae/ss_vae_M2.py",
        'event, net = zoo.Event(784, "binary"), SSVAE(hidden_layers=[50], config_enum="parallel")\n'
        'model, guide = lambda x: net.model(x), config_enumerate(lambda x: net.guide(x), "parallel", expand=True)',
        "without labels",
    ),
    Example(
        "examples/cvae/cvae.py",
        'event = zoo.Event.parse("xs=392:binary@given,ys=392:binary")\n'
        "net = CVAE(20, 50, 50, nn.Linear(784, 784).requires_grad_(False))\n"
        "halves = lambda xs, ys: (torch.cat([xs, -torch.ones_like(xs)], 1), torch.cat([xs, ys], 1))\n"
        "model, guide = lambda xs, ys: net.model(*halves(xs, ys)), lambda xs, ys: net.guide(*halves(xs, ys))",
    ),
    Example(
        "examples/dmm.py",
        'event, dmm = zoo.Event.parse("x=6x88:binary~n,n=:7@given"), DMM()\n'
        "pack = lambda x: nn.utils.rnn.pack_padded_sequence(x, torch.full((len(x),), 6), batch_first=True)\n"
        "mask = lambda x, n: poly.get_mini_batch_mask(x, n).bool()\n"
        "given = lambda x, n: (x, pack(poly.reverse_sequences(x, n)), mask(x, n), n)\n"
        "model, guide = lambda x, n: dmm.model(*given(x, n.long())), lambda x, n: dmm.guide(*given(x, n.long()))",
    ),
    Example(
        "examples/air/air.py",
        'event, air = zoo.Event((20, 20), "real"), AIR(2, 20, 10, 5, 20, use_baselines=False)\n'
        'constant = [value.requires_grad_("bl_" not in name) for name, value in air.named_parameters()]\n'
        "air.bl_h_init, air.bl_c_init = air.h_init, air.c_init\n"
        "model, guide = lambda x: air.model(x, None), lambda x: air.guide(x, None)",
    ),
    Example(
        "examples/lda.py",
        "event, predictor = zoo.Event(64, 1024), nn.Sequential(nn.Linear(1024, 8), nn.Softmax(-1))\n"
        "sizes = lambda x: argparse.Namespace(num_topics=8, num_words=1024, num_docs=len(x), num_words_per_doc=64)\n"
        "documents = model\n"
        "model = lambda x: documents(x.T.long(), sizes(x))\n"
        "guide = lambda x: parametrized_guide(predictor, x.T.long(), sizes(x))",
    ),
    Example(
        "examples/lda.py",
        "event, documents = zoo.Event(64, 1024), model\n"
        "sizes = lambda x: argparse.Namespace(num_topics=8, num_words=1024, num_docs=len(x), num_words_per_doc=64)\n"
        "model = lambda x: documents(x.T.long(), sizes(x))\n"
        'guide = zoo.amortise("normal", model, event)',
        "its model, with the shelf's normal",
    ),
    Example(
        "examples/sparse_gamma_def.py",
        "event, net = zoo.Event(4096, 256), SparseGammaDEF()\nmodel, guide = net.model, net.guide",
    ),
    *(
        Example("examples/hmm.py", hmm(number), about)
        for number, about in enumerate(
            (
                "model 0: one sequence at a time",
                "model 1: a hidden Markov model",
                "model 2: autoregressive",
                "model 3: factorial",
                "model 4: a dynamic Bayesian network",
                "model 5: a network of the emissions",
            )
        )
    ),
    Example(
        "examples/hmm.py",
        'event = zoo.Event((6, 88), "binary")\n'
        "args = argparse.Namespace(hidden_dim=16, raftery_parameterization=False)\n"
        "model = lambda x: model_6(x, torch.full((len(x),), 6), args)",
        "model 6: of second order, its probabilities are parameters",
    ),
    Example(
        "examples/hmm.py",
        'event, args = zoo.Event((6, 88), "binary"), argparse.Namespace(hidden_dim=16, jit=True)\n'
        f"{TONES}"
        "model = lambda x: model_7(x, torch.full((len(x),), 6), args)\n"
        f"{PRIORS}",
        "model 7: as model 5, by Pyro's DiscreteHMM",
    ),
    Example(
        "examples/scanvi/scanvi.py",
        "event, net = zoo.Event(17, 32), SCANVI(17, 4, 2.0, 1.0)\nmodel, guide = net.model, net.guide",
    ),
    Example(
        "examples/toy_mixture_model_discrete_enumeration.py",
        'event, prior, given = zoo.Event(2, "binary"), generate_data(1)[0], (model, guide)\n'
        'columns = lambda x: {"A": x[:, 0], "C": x[:, 1]}\n'
        "model, guide = (lambda x, program=program: program(prior, columns(x), len(x)) for program in given)",
    ),
    Example(
        "examples/contrib/autoname/mixture.py",
        'event, given = zoo.Event(1, "real"), (model, guide)\n'
        "def in_plate(program, x):\n"
        '    with pyro.plate("data", len(x)):\n'
        "        program([x[:, 0]], 2)\n"
        "model, guide = lambda x: in_plate(given[0], x), lambda x: in_plate(given[1], x)",
    ),
    Example(
        "examples/contrib/cevae/synthetic.py",
        'event = zoo.Event.parse("x=5:real,t=:binary,y=:binary")\n'
        "net = CEVAE(feature_dim=5, outcome_dist='bernoulli', latent_dim=4, hidden_dim=10, num_layers=2)\n"
        "constant = [value.requires_grad_(name[0] == 'z') for name, value in net.guide.named_parameters()]\n"
        "model = lambda x, t, y: net.model(x, t, y)\n"
        "guide = pyro.poutine.block(lambda x, t, y: net.guide(x, t, y), hide=['t', 'y'])",
    ),
    Example(
        "tutorial/source/svi_part_i.ipynb",
        'event, given = zoo.Event(10, "binary"), (model, guide)\n'
        "def in_plate(program, x):\n"
        '    with pyro.plate("data", len(x)):\n'
        "        program(x.T)\n"
        "model, guide = lambda x: in_plate(given[0], x), lambda x: in_plate(given[1], x)",
        "its ten flips are a datum",
        "adam_params",
    ),
    Example(
        "tutorial/source/svi_part_iii.ipynb",
        'event, example = zoo.Event(1, "binary"), BernoulliBetaExample(1)\n'
        "model = lambda x: vars(example).update(data=x[:, 0]) or example.model(True)\n"
        "guide = lambda x: example.guide(True)",
    ),
    Example(
        "tutorial/source/svi_flow_guide.ipynb",
        'event, given = zoo.Event((5, 2), "real"), (model, guide)\n'
        "model, guide = lambda x: given[0](x.transpose(0, 1)), lambda x: given[1](x.transpose(0, 1))",
    ),
    Example(
        "tutorial/source/mle_map.ipynb",
        'event = zoo.Event(1, "binary")\nmodel, guide = lambda x: model_mle(x[:, 0]), guide_mle',
        "maximum likelihood",
    ),
    Example(
        "tutorial/source/mle_map.ipynb",
        'event = zoo.Event(1, "binary")\nmodel, guide = lambda x: original_model(x[:, 0]), guide_map',
        "maximum a posteriori",
    ),
    Example(
        "examples/svi_torch.py",
        'event = zoo.Event.parse("covariates=:real@given,data=:real")\nmodel = Model(60)\nguide = AutoNormal(model)',
    ),
    *(
        Example(
            f"tutorial/source/{book}.ipynb",
            'event = zoo.Event.parse("is_cont_africa=:binary@given,ruggedness=:real@given,log_gdp=:real")\n'
            f"model, guide = model, {guide}",
            about,
        )
        for book, by_hand, kind in (
            ("intro_long", "custom_guide", "AutoNormal"),
            ("bayesian_regression_ii", "guide", "AutoMultivariateNormal"),
        )
        for guide, about in ((by_hand, "a guide by hand"), (f"pyro.infer.autoguide.{kind}(model)", kind))
    ),
    Example(
        "tutorial/source/vae_flow_prior.ipynb",
        'event, net = zoo.Event(784, "binary"), VAE(784, 16)\nmodel, guide = net.model, net.guide',
    ),
    Example(
        "tutorial/source/bayesian_regression.ipynb",
        'event, model = zoo.Event.parse("x=3:real@given,y=:real"), BayesianRegression(3, 1)\n'
        "guide = AutoDiagonalNormal(model)",
    ),
    Example(
        "tutorial/source/gmm.ipynb",
        'event, mixture = zoo.Event(1, "real"), model\n'
        "model = lambda x: mixture(x[:, 0])\n"
        'guide = pyro.infer.autoguide.AutoNormal(poutine.block(model, expose=["weights", "locs", "scale"]))',
    ),
    Example(
        "tutorial/source/normalizing_flows_i.ipynb",
        'event = zoo.Event(2, "real")\n'
        "def model(x):\n"
        '    pyro.module("spline", spline_transform)\n'
        '    with pyro.plate("data", len(x)):\n'
        '        pyro.sample("x", flow_dist.to_event(1), obs=x)',
        "splines of each dimension",
        "T.spline_coupling",
    ),
    Example(
        "tutorial/source/normalizing_flows_i.ipynb",
        'event = zoo.Event(2, "real")\n'
        "def model(x):\n"
        '    pyro.module("spline", spline_transform)\n'
        '    with pyro.plate("data", len(x)):\n'
        '        pyro.sample("x", flow_dist, obs=x)',
        "a coupling of splines",
    ),
    Example(
        "tutorial/source/normalizing_flows_i.ipynb",
        'event, flows = zoo.Event(2, "real"), torch.nn.ModuleList([x1_transform, x2_transform])\n'
        "def model(x):\n"
        '    with pyro.plate("data", pyro.module("flows", flows) and len(x)):\n'
        '        first = pyro.sample("x1", dist_x1.expand([len(x), 1]).to_event(1), obs=x[:, :1])\n'
        '        pyro.sample("x2", dist_x2_given_x1.condition(first).expand([len(x), 1]).to_event(1), obs=x[:, 1:])',
        "a spline, and one given it",
    ),
    Example(
        "tutorial/source/gplvm.ipynb",
        'event, mean = zoo.Event(48, "real"), torch.zeros(60, 2)\n'
        "gplvm = gp.models.SparseGPRegression(mean, torch.zeros(48, 60), gp.kernels.RBF(2), torch.randn(32, 2))\n"
        "gplvm.X = pyro.nn.PyroSample(dist.Normal(mean, 0.1).to_event())\n"
        'gplvm.autoguide("X", dist.Normal)\n'
        "model, guide = lambda x: gplvm.set_data(gplvm.X, x.T) or gplvm.model(), lambda x: gplvm.guide()",
        end="URL",
    ),
    Example(
        "tutorial/source/prodlda.ipynb",
        "event, net = zoo.Event(50, 9), ProdLDA(50, 5, 20, 0.2)\nmodel, guide = net.model, net.guide",
    ),
)
"""Pyro's own programs, with their adapters."""
