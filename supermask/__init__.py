"""The science: networks trained by choosing, for every frozen weight, keep, hide or invert.

Words, one meaning each (method and symbols: arXiv 2201.13361):

* **weights**: drawn once from a seed and frozen.
* **scores**: the trained real numbers, one beside each weight.
* **mask**: a step function of the score, +1 (keep), 0 (hide) or -1 (invert).
* **threshold**: where the step lies; a score of smaller magnitude is hidden.
* **remaining**: the fraction of non-zero mask entries over all masked layers.
* **lane, pack**: K trials of equal tensor shapes trained together as one program are a
  pack; each of them is a lane.

The path of data: `config` says what to train, `data` and `models` what on, `initialisers` draws
weights and scores, `pack` trains with `layers`, `masks` and `optim`, and reports `metrics`.
"""
