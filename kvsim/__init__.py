"""kvsim: what a KV-cache policy costs and gains, on given hardware, under given traffic."""
