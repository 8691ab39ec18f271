"""How likely each of some people is to have taken part, by what is known of everybody else.

One family, from the least known to the most; the less is known, the more the others' sum blurs:

- nothing but a public schema, or a public table's law (``likelihood_ratio``, its ``prior``);
- that and colluders' patients: their sums are subtracted, their patients make the prior
  (``likelihood_ratio`` on a ``ColludingView``, with ``Prior.held``);
- all other patients (``known_others``): the release less what is known is the target and the noise.

``candidates`` has the likelihoods where nothing is left but noise, ``others`` those where people
are, ``seen_sums`` what was seen as sums of uploads, ``walks`` several local steps.
"""
