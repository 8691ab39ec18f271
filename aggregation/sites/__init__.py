"""Sites: the roles of ``aggregation.roles`` as processes of their own, between which bytes travel.

    site.toml   who a site is, where its table and its ledgers lie          site_settings
    agreed/     what all sites have alike: plan, roster, public material    agreed
    Site        the roles of one site, taken up from its folder             site
    rehearse    an update of nobody, so that no first use is waited for     rehearsal
    ModelApart  a torch model, run by a process without keys or network     model_process
    daemon      a process that answers on the site's socket                 daemon, frames
    Closing     ledgers counter-signed by messages when a run has ended     closing
    Courier     carries bytes between sites, and holds nothing              courier, link

Patients, keys, ledgers and what a restart needs live in a site's folder and in its daemon, and
nowhere else. A courier sees sealed, signed messages, and is believed in nothing.
"""
