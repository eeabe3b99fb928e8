"""The local page: experiments, verdicts, run against run, networks to try; and the same as a JSON API.

`server` starts it, `app` puts it together, `security` guards every request. `catalogue` knows the result folders,
`live` reads runs that are still training, `versus` puts two runs side by side; `schema` is what the API answers, and
`pages` and `api` are the addresses. `tryit` takes drawings and images: `uploads` refuses what is none, `workbench`
keeps networks at hand, `drawing` places ink, `insight` looks into networks and `pictures` shows what it finds.
Everything is read from result folders and nothing is written to them.

Nothing here but `server` may be imported without the extra `web`.
"""
