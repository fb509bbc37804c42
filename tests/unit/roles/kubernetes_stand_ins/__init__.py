"""What takes the place of a cluster, its hosts and SSM where the role kubernetes is played on directories."""
