module backworks

go 1.21
