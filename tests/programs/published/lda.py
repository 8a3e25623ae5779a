"""Amortised latent Dirichlet allocation: topics are shared by all documents, the topic of a word is enumerated."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import nn

import zoo

TOPICS, WORDS, LENGTH = 2, 5, 6
predictor = nn.Sequential(nn.Linear(WORDS, 8), nn.Softplus(), nn.Linear(8, TOPICS), nn.Softplus())


def model(data):
    with pyro.plate("topics", TOPICS):
        topic_weights = pyro.sample("topic_weights", dist.Gamma(1.0 / TOPICS, 1.0))
        topic_words = pyro.sample("topic_words", dist.Dirichlet(torch.ones(WORDS) / WORDS))
    with pyro.plate("documents", data.shape[1]):
        doc_topics = pyro.sample("doc_topics", dist.Dirichlet(topic_weights))
        with pyro.plate("words", LENGTH):
            topic = pyro.sample("word_topics", dist.Categorical(doc_topics), infer={"enumerate": "parallel"})
            pyro.sample("doc_words", dist.Categorical(topic_words[topic]), obs=data)


def guide(data):
    weights = pyro.param("weights_posterior", lambda: torch.ones(TOPICS), constraint=constraints.positive)
    words = pyro.param("words_posterior", lambda: torch.ones(TOPICS, WORDS), constraint=constraints.greater_than(0.5))
    with pyro.plate("topics", TOPICS):
        pyro.sample("topic_weights", dist.Gamma(weights, 1.0))
        pyro.sample("topic_words", dist.Dirichlet(words))
    pyro.module("predictor", predictor)
    with pyro.plate("documents", data.shape[1]):
        counts = nn.functional.one_hot(data.long(), WORDS).sum(0).float()
        pyro.sample("doc_topics", dist.Dirichlet(predictor(counts) + 0.1))


# adapter
event = zoo.Event(LENGTH, WORDS)
of_columns = {"model": model, "guide": guide}
model, guide = lambda x: of_columns["model"](x.T), lambda x: of_columns["guide"](x.T)
