"""NVFLARE as a courier between machines: it carries frames, and holds nothing (extra ``deploy``).

    FlareNetwork  the address and the authority of a run             sites.flare_network
    certificates  each site's own, from a request that holds no key  site_certificates
    kit           what a site lets NVFLARE do: carry, and no more    kit, nvflare_commands
    ServerEnd     the courier, in the server's job                   server_end, relayed_link
    SiteEnd       passes frames to the site's daemon                 site_end, frame_relay
    Supervisor    submits the job again until the run has ended      supervisor, progress

A job of NVFLARE is disposable: the state of the run is in the sites' folders. No process of
NVFLARE has a patient, a key of ours, a ledger, or anything that a restart needs.
"""
