"""What lies between a request and the network: certificates, proxies, connections, and bounds on answers."""
