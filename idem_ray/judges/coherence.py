"""provisional"""
class CoherenceJudge:
    metric="coherence"; name="coherence:provisional"
    def __init__(self,n_threads=None): pass
    def judge(self,ex):
        from idem_ray.records import Judgment
        return [Judgment(90.0 if e.answer else 0.0) for e in ex]
