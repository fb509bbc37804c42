"""The AWS endpoint of the lab: moto's backends behind a front that refuses what AWS refuses."""
