module fibrio/bench/compare/go_net

go 1.19
