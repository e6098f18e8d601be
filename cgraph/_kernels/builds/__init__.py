"""The compiled families, `<family>_<dtype>_<instruction set>`, where setup.py puts them."""
