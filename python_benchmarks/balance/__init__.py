"""The toy study of the WBM paper (Fig. 2 and 3): do propensities balance two clouds?"""
