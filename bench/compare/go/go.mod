module fibrio/compare

go 1.19
