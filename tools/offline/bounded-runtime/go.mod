module waypost.dev/tools/bounded-runtime

go 1.22
