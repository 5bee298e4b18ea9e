"""Everything that touches disks and screens; compiled code never imports it."""
